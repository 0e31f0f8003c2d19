package ledger

import (
	"context"

	"github.com/pratique-dev/pratique"
)

// Recorder is the ledger as one role has it: it reads everything, and writes only the kinds of
// facts that are the role's. The table of facts in the root package says which.
type Recorder struct {
	*Ledger
	role pratique.Role
}

// For returns the ledger for a role.
func (l *Ledger) For(role pratique.Role) Recorder { return Recorder{l, role} }

// Append is [Ledger.Append]. A fact of another role's kind is an error of kind Internal.
func (r Recorder) Append(ctx context.Context, f pratique.Fact) (uint64, error) {
	if err := r.check(f); err != nil {
		return 0, err
	}
	return r.Ledger.Append(ctx, f)
}

// Message is [Ledger.Message]. A fact of another role's kind is an error of kind Internal.
func (r Recorder) Message(f pratique.Fact) (subject, id string, body []byte, err error) {
	if err := r.check(f); err != nil {
		return "", "", nil, err
	}
	return r.Ledger.Message(f)
}

func (r Recorder) check(f pratique.Fact) error {
	if kind := f.Kind(); !kind.WrittenBy(r.role) {
		return pratique.Errorf(pratique.Internal, "append fact", "the role %s writes no %s facts",
			r.role, kind)
	}
	return nil
}
