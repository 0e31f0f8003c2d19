package signertest_test

import (
	"sync/atomic"
	"testing"

	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/signertest"
)

func TestKeyConforms(t *testing.T) {
	var seed atomic.Uint32
	signertest.Test(t, func(*testing.T) (signer.Signer, signer.Verifier) {
		k := signertest.NewKey(byte(seed.Add(1)))
		return k, k
	})
}
