"""`make bench-gateway`: what a PoP costs on one core, beside other gateways and a bare nginx."""
