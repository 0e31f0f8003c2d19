package deploy

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// Ages returns when images were built, according to their configuration.
type Ages interface {
	// Created returns the time, zero if it is not known.
	Created(ctx context.Context, s pratique.Subject) (time.Time, error)
}

// older returns why the submitted image is older than the one in one of its places; empty if it is
// not, or that is unknown. A push shows which image of a tag is the newest; a submission does not.
func (g *Gate) older(ctx context.Context, m *branchHistory, there []pratique.Place) (string, error) {
	c := m.change
	for _, p := range there {
		if p.Tag == c.Tag || p.Digest == c.Subject.Digest {
			continue // the registry decides which of two digests a tag means
		}
		why, err := g.olderThan(ctx, m, p)
		if err != nil {
			return "", err
		}
		if why != "" {
			return fmt.Sprintf("%s, which is newer than %s (%s); a token with rollback: true may go back", describePlace(c, p, p.Since), c.Tag, why), nil
		}
	}
	return "", nil
}

func (g *Gate) olderThan(ctx context.Context, m *branchHistory, p pratique.Place) (string, error) {
	c := m.change
	if mine, theirs, ok := versions(c.Tag, p.Tag); ok && mine.compare(theirs) != 0 {
		if mine.compare(theirs) < 0 {
			return "a lower version", nil
		}
		return "", nil
	}
	if p.Digest.IsZero() {
		return "", nil
	}
	mine, err := m.wrote(ctx, c.Subject.Digest, "")
	if err != nil {
		return "", err
	}
	theirs, err := m.wrote(ctx, p.Digest, p.Since)
	if err != nil {
		return "", err
	}
	if mine != nil && theirs != nil && !mine.pushed.IsZero() && mine.pushed.Before(theirs.pushed) {
		return "pushed at " + mine.pushed.Format(time.RFC3339) + ", and the other at " +
			theirs.pushed.Format(time.RFC3339), nil
	}
	if g.c.Ages == nil {
		return "", nil
	}
	built, err := g.c.Ages.Created(ctx, c.Subject)
	if err != nil {
		return "", err
	}
	other, err := g.c.Ages.Created(ctx, c.Subject.Sibling(p.Digest))
	if err != nil {
		return "", err
	}
	if m.plausible(built) && m.plausible(other) && built.Before(other) {
		return "built at " + built.UTC().Format(time.RFC3339) + ", and the other at " +
			other.UTC().Format(time.RFC3339), nil
	}
	return "", nil
}

// plausible reports whether a build time can be true: reproducible builds often write 1970 or 1980.
func (m *branchHistory) plausible(built time.Time) bool {
	return built.Year() > 2010 && !built.After(m.now)
}

// version is a semantic version.
type version struct {
	numbers    [3]uint64
	prerelease []string
}

// semantic is the form of a version with all of its three numbers: a tag such as v1 means the
// newest of a line. A plus sign cannot stand in a tag.
var semantic = regexp.MustCompile(`^v?(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$`)

func versions(a, b string) (version, version, bool) {
	va, ok := versionOf(a)
	vb, both := versionOf(b)
	return va, vb, ok && both
}

func versionOf(tag string) (version, bool) {
	parts := semantic.FindStringSubmatch(tag)
	if parts == nil {
		return version{}, false
	}
	var v version
	for i := range v.numbers {
		v.numbers[i], _ = strconv.ParseUint(parts[i+1], 10, 64) // at most 18 digits
	}
	if parts[4] != "" {
		v.prerelease = strings.Split(parts[4], ".")
	}
	return v, true
}

// compare orders versions as semver.org does.
func (v version) compare(o version) int {
	for i := range v.numbers {
		if c := cmp.Compare(v.numbers[i], o.numbers[i]); c != 0 {
			return c
		}
	}
	if len(v.prerelease) == 0 || len(o.prerelease) == 0 {
		return cmp.Compare(len(o.prerelease), len(v.prerelease)) // a release comes after its candidates
	}
	for i := range min(len(v.prerelease), len(o.prerelease)) {
		a, b := v.prerelease[i], o.prerelease[i]
		x, errA := strconv.ParseUint(a, 10, 64)
		y, errB := strconv.ParseUint(b, 10, 64)
		c := 0
		switch {
		case errA == nil && errB == nil:
			c = cmp.Compare(x, y)
		case errA == nil:
			c = -1 // numbers come before words
		case errB == nil:
			c = 1
		default:
			c = strings.Compare(a, b)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(v.prerelease), len(o.prerelease))
}
