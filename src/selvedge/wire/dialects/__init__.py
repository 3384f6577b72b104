"""Other APIs' forms of a chat: inward at the edge of a PoP, outward in front of a provider."""
