package adapter

import (
	"context"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/attest/ledger"
)

// Deployed finds the images that have been deployed.
type Deployed struct{ Index *index.Index }

// Deployed implements [deploying.Records]. It looks at the repositories of the deployments only,
// and there at every image: a deployment does not list all that it held.
func (d Deployed) Deployed(ctx context.Context, visit func(pratique.Record) error) error {
	seen := map[pratique.Repository]bool{} // each may be in many targets
	for q := (index.DeploymentQuery{Limit: index.MaxLimit}); ; {
		page, err := d.Index.Deployments(q)
		if err != nil {
			return err
		}
		for _, of := range page.Items {
			if seen[of.Repository] {
				continue
			}
			seen[of.Repository] = true
			if err := d.deployedOf(ctx, of.Repository, visit); err != nil {
				return err
			}
		}
		if page.Next == "" || ctx.Err() != nil {
			return ctx.Err()
		}
		q.Cursor = page.Next
	}
}

// deployedOf visits the images of one repository, the newest first.
func (d Deployed) deployedOf(ctx context.Context, of pratique.Repository,
	visit func(pratique.Record) error) error {
	for q := (index.Query{Repository: of, Limit: index.MaxLimit}); ; {
		page, err := d.Index.List(q)
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			if item.Deployments == 0 && item.Drifted == 0 {
				continue
			}
			r, known, err := Record(d.Index, item.Subject)
			if err == nil && known {
				err = visit(r)
			}
			if err != nil {
				return err
			}
		}
		if page.Next == "" || ctx.Err() != nil {
			return ctx.Err()
		}
		q.Cursor = page.Next
	}
}

// Record is what the index has of a subject; false if it was never evaluated, or its work is under
// way.
func Record(ix *index.Index, s pratique.Subject) (pratique.Record, bool, error) {
	records, err := ix.Images(s.Digest)
	if pratique.KindOf(err) == pratique.NotFound {
		err = nil
	}
	for _, r := range records {
		if r.Subject == s {
			return r, true, err
		}
	}
	return pratique.Record{}, false, err
}

// Ages reads when images were built from the facts about them.
type Ages struct{ Ledger *ledger.Ledger }

// Created implements [deploy.Ages]. An index is as old as the first of its platforms that says
// something.
func (a Ages) Created(ctx context.Context, s pratique.Subject) (time.Time, error) {
	f, ok, err := a.Ledger.Last(ctx, s, pratique.FactInspected)
	if err != nil || !ok {
		return time.Time{}, err
	}
	inspected := pratique.As[pratique.Inspected](f)
	if !inspected.Image.Created.IsZero() {
		return inspected.Image.Created, nil
	}
	for _, c := range inspected.Children {
		child, ok, err := a.Ledger.Last(ctx, s.Sibling(c.Digest), pratique.FactInspected)
		if err != nil {
			return time.Time{}, err
		}
		if !ok {
			continue
		}
		if created := pratique.As[pratique.Inspected](child).Image.Created; !created.IsZero() {
			return created, nil
		}
	}
	return time.Time{}, nil
}
