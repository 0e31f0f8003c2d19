package index

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// DeploymentQuery asks for a page of deployments. Zero fields do not filter.
type DeploymentQuery struct {
	Target     string
	Repository pratique.Repository
	// Limit and Cursor are as in [Query].
	Limit  int
	Cursor string
}

// DeploymentPage is a part of the list of deployments; see [Page] for Next.
type DeploymentPage struct {
	Items []pratique.Deployment
	Next  string
}

// deploymentKey has the target first, so that those of one target lie side by side.
func deploymentKey(k pratique.DeploymentKey) []byte {
	return join([]byte(k.Target), []byte(k.Repository.String()))
}

// applyDeployment folds a fact into the deployment that it is about. What it replaces there is
// noted in the records of those images.
func (b *batch) applyDeployment(seq uint64, f pratique.Fact) error {
	of, ok := f.Deployment()
	if !ok {
		return nil
	}
	key := string(deploymentKey(of))
	d := b.deployments[key]
	if d == nil {
		d = &pratique.Deployment{}
		if _, err := boltfile.GetJSON(b.tx.Bucket(bucketDeployments), []byte(key), d); err != nil {
			return err
		}
		b.deployments[key] = d
	}
	for _, digest := range d.Fold(seq, f) {
		replaced, err := b.record(subjectKey(f.Subject.Sibling(digest)))
		if err != nil {
			return err
		}
		replaced.Supersede(f.Subject.Digest, pratique.As[pratique.Commit](f))
	}
	return nil
}

// Deployment returns what is known of an image repository in a target; the error is of kind
// NotFound if it was never deployed there.
func (ix *Index) Deployment(of pratique.DeploymentKey) (pratique.Deployment, error) {
	const op = "find deployment"
	var d pratique.Deployment
	err := ix.view(op, func(tx *bbolt.Tx) error {
		found, err := boltfile.GetJSON(tx.Bucket(bucketDeployments), deploymentKey(of), &d)
		if err == nil && !found {
			err = notFound(op, of.Repository.String()+" in "+of.Target)
		}
		return err
	})
	return d, err
}

// Deployments returns deployments, sorted by target and repository. The error is of kind Invalid
// for a limit or a cursor that does not fit.
func (ix *Index) Deployments(q DeploymentQuery) (DeploymentPage, error) {
	const op = "list deployments"
	limit, err := pageLimit(op, q.Limit)
	if err != nil {
		return DeploymentPage{}, err
	}
	by := filters([]byte(q.Target), []byte(q.Repository.String()))
	after, err := decodeCursor(q.Cursor, by)
	if err != nil {
		return DeploymentPage{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	page := DeploymentPage{Items: []pratique.Deployment{}}
	err = ix.view(op, func(tx *bbolt.Tx) error {
		var prefix []byte
		if q.Target != "" {
			prefix = join([]byte(q.Target), nil)
		}
		suffix := []byte(q.Repository.String())
		c, examined := tx.Bucket(bucketDeployments).Cursor(), 0
		for k, v := seekAfter(c, prefix, after); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if len(page.Items) == limit || examined == maxExamined {
				page.Next = encodeCursor(by, after)
				return nil
			}
			examined, after = examined+1, bytes.Clone(k)
			if len(suffix) > 0 && !bytes.HasSuffix(k, join(nil, suffix)) {
				continue
			}
			var d pratique.Deployment
			if err := boltfile.DecodeJSON(v, &d); err != nil {
				return fmt.Errorf("deployment %q: %w", k, err)
			}
			page.Items = append(page.Items, d)
		}
		return nil
	})
	return page, err
}

// seekAfter moves to the first key with the prefix that comes after another one.
func seekAfter(c *bbolt.Cursor, prefix, after []byte) (key, value []byte) {
	if len(after) == 0 {
		return c.Seek(prefix)
	}
	if key, value = c.Seek(after); bytes.Equal(key, after) {
		return c.Next()
	}
	return key, value
}
