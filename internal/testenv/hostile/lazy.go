package hostile

import (
	"bytes"
	"compress/gzip" // whose empty member is as long as a footer has to be
	"encoding/json"
	"fmt"

	"github.com/pratique-dev/pratique"
)

// TwoTrees is an eStargz layer of two readings: who unpacks its tar finds the file shown, and who
// goes by its table of contents, as lazy runtimes do, finds the file hidden, whose content the tar
// has under a name that says nothing.
func TwoTrees(shown, hidden Entry) Layer {
	cover := Tar(shown, File("usr/share/data", hidden.Content))
	at := bytes.LastIndex(cover, hidden.Content)
	var out, stream bytes.Buffer
	member := func(b []byte) int {
		place := out.Len()
		z := gzip.NewWriter(&out)
		_, err := z.Write(b)
		must(err)
		must(z.Close())
		stream.Write(b)
		return place
	}
	member(cover[:at])
	content := member(cover[at : len(cover)-1024])
	digest := pratique.DigestOf(hidden.Content).String()
	table, err := json.Marshal(map[string]any{"version": 1, "entries": []any{map[string]any{
		"type": "reg", "name": hidden.Name, "mode": 0o644, "size": len(hidden.Content),
		"offset": content, "digest": digest, "chunkDigest": digest,
	}}})
	must(err)
	index := member(Tar(File("stargz.index.json", table)))
	footer, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
	must(err)
	footer.Extra = fmt.Appendf([]byte{'S', 'G', 22, 0}, "%016xSTARGZ", index)
	must(footer.Close())
	return Layer{Bytes: out.Bytes(), DiffID: pratique.DigestOf(stream.Bytes()), MediaType: gzipLayer}
}
