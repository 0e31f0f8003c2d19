package registry

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
)

const (
	// maxNamed bounds the tags that [Client.TagsOf] looks up, and maxPages the pages on which they
	// are listed.
	maxNamed = 5000
	maxPages = 1000
	// tagLookups is the number of concurrent look-ups, in addition to the registry's own limit.
	tagLookups = 4
)

// TagsOf returns the tags that name the subject now, in the registry's order. Registries cannot be
// asked for them, so every tag of the repository is looked up; for more than 5,000 the error is
// Exhausted. Tags of signatures are left out.
func (c *Client) TagsOf(ctx context.Context, s pratique.Subject) ([]string, error) {
	const op = "find tags of digest"
	var tags []string
	next := ""
	for range maxPages {
		page, err := c.Tags(ctx, s.Repository, next, "")
		if err != nil {
			return nil, pratique.Wrap(pratique.Unknown, op, s.String(), err)
		}
		tags = append(tags, slices.DeleteFunc(page.Tags, pratique.IsSignatureTag)...)
		if len(tags) > maxNamed {
			return nil, pratique.Errorf(pratique.Exhausted, op, "%s has more than %d tags",
				s.Repository, maxNamed)
		}
		if next = page.Next; next == "" {
			break
		}
	}
	if next != "" {
		return nil, pratique.Errorf(pratique.Exhausted, op,
			"the tags of %s are on more than %d pages", s.Repository, maxPages)
	}
	found := make([]bool, len(tags))
	all, asking := errgroup.WithContext(ctx)
	all.SetLimit(tagLookups)
	for i, tag := range tags {
		all.Go(func() (err error) {
			defer pratique.Caught(pratique.Corrupt, op, &err)
			d, err := c.Digest(asking, pratique.ImageRef{Repository: s.Repository, Tag: tag})
			if pratique.KindOf(err) == pratique.NotFound {
				return nil // gone since it was listed
			}
			found[i] = d == s.Digest
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return nil, pratique.Wrap(pratique.Unknown, op, s.String(), err)
	}
	var named []string
	for i, tag := range tags {
		if found[i] {
			named = append(named, tag)
		}
	}
	return named, nil
}
