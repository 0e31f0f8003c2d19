package pratique_test

import (
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

func TestCaught(t *testing.T) {
	t.Parallel()
	fails := func(bytes []byte) (err error) {
		defer pratique.Caught(pratique.Corrupt, "read bytes", &err)
		_ = bytes[5]
		return nil
	}
	err := fails([]byte("abc"))
	if pratique.KindOf(err) != pratique.Corrupt ||
		!strings.Contains(err.Error(), "panic at caught_test.go:") ||
		!strings.Contains(err.Error(), "out of range") {
		t.Errorf("the error is %v", err)
	}
	if err := fails([]byte("abcdef")); err != nil {
		t.Errorf("without a panic: %v", err)
	}
}
