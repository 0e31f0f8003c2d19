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

// Shadow compares the SBOMs of an image as the generator made them with those that were made in full.
// The latter are used.
type Shadow struct{ Generated, Full DocumentDigests }

// Equal reports whether both are the same bytes.
func (s Shadow) Equal() bool { return s.Generated == s.Full }

// DocumentDigests are those of both SBOMs.
type DocumentDigests struct {
	SPDX      pratique.Digest `json:"spdx"`
	CycloneDX pratique.Digest `json:"cyclonedx"`
}

func digestsOf(spdx, cycloneDX []byte) DocumentDigests {
	return DocumentDigests{SPDX: pratique.DigestOf(spdx), CycloneDX: pratique.DigestOf(cycloneDX)}
}

// Sample chooses the images that are checked: about one in OneIn, by their digest, so that an image
// that is inspected again is chosen again. The seed keeps people from making images that are not
// chosen; it stays in the parent.
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

// generate makes the SBOMs. If the image was chosen they are made a second time in full, which is the
// result; checked are the digests of what the generator had made.
func (s *server) generate(ctx context.Context, img layers.Image, chosen bool) (docs sbom.Documents, checked *DocumentDigests, err error) {
	docs, err = s.Generator.Generate(ctx, img)
	if err != nil || !chosen {
		return docs, nil, err
	}
	if s.Full == nil {
		return docs, nil, pratique.Errorf(pratique.Internal, "check sbom", "this process has nothing to compare with")
	}
	made := digestsOf(docs.SPDX, docs.CycloneDX)
	if docs, err = s.Full.Generate(ctx, img); err != nil {
		return docs, nil, err
	}
	if made != digestsOf(docs.SPDX, docs.CycloneDX) {
		s.Generator = s.Full // what was wrong once is not asked again
	}
	return docs, &made, nil
}
