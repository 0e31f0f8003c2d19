package inspector

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/sbom"
)

// Shadow compares the SBOMs of the regular generator with those made in full. The latter are used.
type Shadow struct{ Generated, Full DocumentDigests }

// Equal reports whether both are the same bytes.
func (s Shadow) Equal() bool { return s.Generated == s.Full }

// DocumentDigests are the digests of both SBOMs.
type DocumentDigests struct {
	SPDX      pratique.Digest `json:"spdx"`
	CycloneDX pratique.Digest `json:"cyclonedx"`
}

func digestsOf(spdx, cycloneDX []byte) DocumentDigests {
	return DocumentDigests{SPDX: pratique.DigestOf(spdx), CycloneDX: pratique.DigestOf(cycloneDX)}
}

// Sample chooses about one in OneIn images for a check, by digest, so that an image is chosen again
// when it is inspected again. The seed is secret, so that nobody can make images that are not
// chosen.
type Sample struct {
	Seed  []byte
	OneIn int // none are chosen if it is below 1
}

// Has reports whether an image is chosen.
func (s Sample) Has(image pratique.Digest) bool {
	if s.OneIn < 1 {
		return false
	}
	mac := hmac.New(sha256.New, s.Seed)
	mac.Write([]byte(image.String())) // never fails
	return binary.BigEndian.Uint64(mac.Sum(nil))%uint64(s.OneIn) == 0
}

// generate makes the SBOMs. For a chosen image they are made a second time in full, and returned
// with the digests of the first ones.
func (s *server) generate(ctx context.Context, img layers.Image, chosen bool) (docs sbom.Documents,
	checked *DocumentDigests, err error) {
	docs, err = s.Generator.Generate(ctx, img)
	if err != nil || !chosen {
		return docs, nil, err
	}
	if s.Full == nil {
		return docs, nil, pratique.Errorf(pratique.Internal, "check sbom",
			"this process has no full generator")
	}
	made := digestsOf(docs.SPDX, docs.CycloneDX)
	if docs, err = s.Full.Generate(ctx, img); err != nil {
		return docs, nil, err
	}
	if made != digestsOf(docs.SPDX, docs.CycloneDX) {
		s.Generator = s.Full // it was wrong once, so it is not used again
	}
	return docs, &made, nil
}
