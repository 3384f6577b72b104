// Command bundlecheck verifies a Selvedge bundle with nothing of Selvedge: golang.org/x/mod only.
//
//	bundlecheck BUNDLE KEYS QUORUM
//
// KEYS has lines "log VKEY" and "witness NAME VKEY" (c2sp.org/tlog-policy, other lines are ignored);
// a log's key is named as its origin, month included. QUORUM is how many witnesses must have cosigned.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// cosigner verifies c2sp.org/tlog-cosignature v1, which package note does not know.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }
func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg)
	return ed25519.Verify(c.key, []byte(signed), sig[8:])
}

func newCosigner(vkey string) *cosigner {
	parts := strings.SplitN(vkey, "+", 3)
	ensure(len(parts) == 3, "malformed witness key %q", vkey)
	key := decode(parts[2])
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	ensure(len(key) == 33 && key[0] == 4, "%q is no cosigner's key", vkey)
	ensure(fmt.Sprintf("%x", sum[:4]) == parts[1], "the id of %q is another key's", vkey)
	return &cosigner{parts[0], binary.BigEndian.Uint32(sum[:]), key[1:]}
}

// logged checks a tlog-proof of an entry; it returns the checkpoint, its origin and its cosigners.
func logged(proof string, entry []byte, keys note.Verifiers) (string, string, int) {
	head, checkpoint, _ := strings.Cut(proof, "\n\n")
	lines := strings.Split(head, "\n")
	ensure(len(lines) > 1 && lines[0] == "c2sp.org/tlog-proof@v1", "no tlog-proof")
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	check(err)
	var path tlog.RecordProof
	for _, line := range lines[2:] {
		path = append(path, hash(line))
	}
	n, err := note.Open([]byte(checkpoint), keys)
	check(err)
	body := strings.Split(n.Text, "\n")
	ensure(len(body) >= 4, "no checkpoint: %q", n.Text)
	size, err := strconv.ParseInt(body[1], 10, 64)
	check(err)
	check(tlog.CheckRecord(path, size, hash(body[2]), index, tlog.RecordHash(entry)))
	own, cosigners := false, 0
	for _, sig := range n.Sigs {
		verifier, err := keys.Verifier(sig.Name, sig.Hash)
		check(err)
		if _, ok := verifier.(*cosigner); ok {
			cosigners++
		} else if sig.Name == body[0] {
			own = true
		}
	}
	ensure(own, "%s is not signed by a key of its own", body[0])
	return body[0], checkpoint, cosigners
}

func main() {
	ensure(len(os.Args) == 4, "usage: bundlecheck BUNDLE KEYS QUORUM")
	quorum, err := strconv.Atoi(os.Args[3])
	check(err)
	var verifiers []note.Verifier
	for _, line := range strings.Split(string(read(os.Args[2])), "\n") {
		if words := strings.Fields(line); len(words) >= 2 && words[0] == "log" {
			verifier, err := note.NewVerifier(words[1])
			check(err)
			verifiers = append(verifiers, verifier)
		} else if len(words) >= 3 && words[0] == "witness" {
			verifiers = append(verifiers, newCosigner(words[2]))
		}
	}
	keys := note.VerifierList(verifiers...)

	var bundle struct {
		Receipt                 json.RawMessage
		Salt, Pop, Jurisdiction string
	}
	var receipt struct {
		ID         string `json:"id"`
		IngressPop string `json:"ingress_pop"`
	}
	check(json.Unmarshal(read(os.Args[1]), &bundle))
	check(json.Unmarshal(bundle.Receipt, &receipt))
	leaf := sha256.Sum256(bytes.Join([][]byte{[]byte("selvedge/receipt/v1\n"), decode(bundle.Salt), bundle.Receipt}, nil))
	pop, checkpoint, _ := logged(bundle.Pop, leaf[:], keys)
	home, _, cosigners := logged(bundle.Jurisdiction, []byte(checkpoint), keys)
	ensure(strings.Contains(pop, "/pop/"+receipt.IngressPop+"/"), "%s is not the receipt's PoP", pop)
	ensure(strings.Contains(home, "/jurisdiction/"), "%s is no jurisdiction's log", home)
	ensure(cosigners >= quorum, "%d witnesses have cosigned, not %d", cosigners, quorum)
	fmt.Printf("receipt %s is in %s, and that in %s, cosigned by %d\n", receipt.ID, pop, home, cosigners)
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	check(err)
	return data
}

func decode(text string) []byte {
	data, err := base64.StdEncoding.DecodeString(text)
	check(err)
	ensure(base64.StdEncoding.EncodeToString(data) == text, "%q is not how it is written", text)
	return data
}

func hash(text string) (h tlog.Hash) {
	data := decode(text)
	ensure(copy(h[:], data) == len(data) && len(data) == len(h), "%q is no hash", text)
	return h
}

func check(err error) {
	if err != nil {
		ensure(false, "%v", err)
	}
}

func ensure(ok bool, format string, args ...any) {
	if !ok {
		fmt.Fprintf(os.Stderr, "bundlecheck: "+format+"\n", args...)
		os.Exit(1)
	}
}
