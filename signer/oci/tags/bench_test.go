package tags_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/signer/oci/storetest"
	"github.com/pratique-dev/pratique/signer/oci/tags"
)

// BenchmarkAttach signs and attaches the four statements of one image, one of them an SBOM of 5 MB,
// to a registry in this process.
func BenchmarkAttach(b *testing.B) {
	reg := storetest.NewRegistry(b)
	own := testKey(b, 0)
	store := tags.NewStore(reg, tags.Limits{})
	document := fmt.Appendf(nil, `{"spdxVersion":"SPDX-2.3","SPDXID":"x","comment":%q}`,
		strings.Repeat("a", 5<<20))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		subject := reg.Push(b, "team/app")
		sts := statements(b, subject, pratique.Allow)
		b.StartTimer()
		var err error
		if sts[0], err = attest.SPDX(subject, document); err != nil {
			b.Fatal(err)
		}
		attach(b, store, own, subject, sts)
	}
}
