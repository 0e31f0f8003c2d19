package pipeline

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Narrow returns the numbers of the packages of a part that a change concerns, by the keys of a delta and by names of
// packages; ok is false if the whole part must be matched. The part is the outline of one: only names are known.
type Narrow func(part pratique.Inventory, names, packages map[string]bool) (concerned []int, ok bool)

// narrowing is the delta of the rescan that this process began, as far as it allows to match less than whole parts.
// A process that goes on with what another began has none, and matches whole parts.
type narrowing struct {
	to                     pratique.Digest
	names, vulnerabilities map[string]bool

	// Builds of one application share most of their packages, and most of what is found in them, in lists of their own. So
	// it is remembered what was found in pieces, by their keys, what documents say that lists share, and what became of them.
	mu       sync.Mutex
	answers  map[pratique.Digest][]scanner.Found
	shared   map[pratique.Digest][]scanner.Found
	plans    map[string]*plan
	findings int
}

// mostFindings bounds what is remembered.
const mostFindings = 50_000

// forget gives the memory back when the rescan is over.
func (n *narrowing) forget() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers, n.shared, n.plans, n.findings = nil, nil, nil, 0
}

// bound forgets everything when it has become too much. The mutex is held.
func (n *narrowing) bound(more int) {
	if n.findings += more; n.findings > mostFindings || n.answers == nil {
		n.answers, n.shared, n.plans = map[pratique.Digest][]scanner.Found{}, map[pratique.Digest][]scanner.Found{}, map[string]*plan{}
		n.findings = more
	}
}

// answer returns what was found in a piece.
func (n *narrowing) answer(key pratique.Digest) ([]scanner.Found, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found, ok := n.answers[key]
	return found, ok
}

func (n *narrowing) learn(key pratique.Digest, found []scanner.Found) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bound(1 + len(found))
	n.answers[key] = found
}

// load is [scanner.LoadShared], once for a document that many lists share; nobody changes what it returns.
func (n *narrowing) load(ctx context.Context, from scanner.Documents, d pratique.Digest) ([]scanner.Found, error) {
	if d.IsZero() {
		return nil, nil
	}
	n.mu.Lock()
	found, ok := n.shared[d]
	n.mu.Unlock()
	if ok {
		return found, nil
	}
	found, err := scanner.LoadShared(ctx, from, d)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bound(len(found))
	n.shared[d] = found
	return found, nil
}

// narrowed is a part on its way through the matcher.
type narrowed struct {
	// pieces are what is to be matched of it: the whole part, or packages; none if nothing is.
	pieces []piece
	// old are the findings before, if they are known, without their places; shared is their document.
	known  bool
	old    []scanner.Found
	shared pratique.Digest

	// packages says that the pieces are packages, and then these are the places of old. Which advisories there are for a
	// list did not change then, so it is covered as before.
	packages bool
	places   []scanner.Place
	covered  *pratique.Coverage
}

// prepare loads a part and cuts off what the delta does not concern.
func (s *Rescan) prepare(ctx context.Context, p scanner.Part, db pratique.Digest) (narrowed, error) {
	outline, err := scanner.LoadOutline(ctx, named{&s.Base}, p.Digest)
	if err != nil {
		return narrowed{}, orLost(err)
	}
	n, err := s.before(ctx, p, db)
	if err != nil {
		return narrowed{}, err
	}
	if n.packages {
		also := map[string]bool{}
		for _, f := range n.old {
			if s.narrowing.vulnerabilities[f.ID] {
				also[f.Package] = true
			}
		}
		concerned, ok := s.Narrow(outline.Inventory, s.narrowing.names, also)
		if ok {
			narrow, err := outline.Only(concerned)
			if err != nil {
				return narrowed{}, orLost(err)
			}
			n.pieces, err = cut(narrow)
			return n, err
		}
		n.packages = false
	}
	part, err := outline.Whole()
	n.pieces = []piece{{inventory: part}}
	return n, orLost(err)
}

// before loads what was found in a part. If it is known, and a delta, packages may be matched by themselves.
func (s *Rescan) before(ctx context.Context, p scanner.Part, db pratique.Digest) (n narrowed, err error) {
	if p.Findings.IsZero() {
		return n, nil
	}
	delta := s.narrowing
	if delta == nil || delta.to != db {
		n.old, _, err = scanner.LoadFound(ctx, named{&s.Base}, p.Findings)
		return n.had(err)
	}
	placed, err := scanner.LoadPlaces(ctx, named{&s.Base}, p.Findings)
	if err != nil {
		return n.had(err)
	}
	n.old, err = delta.load(ctx, named{&s.Base}, placed.Shared)
	if err == nil {
		err = scanner.Fit(p.Findings, n.old, placed.Places)
	}
	n, err = n.had(err)
	n.packages, n.places, n.shared, n.covered = n.known && placed.Coverage != nil, placed.Places, placed.Shared, placed.Coverage
	return n, err
}

// had says how loading the findings before went: without them the whole part is matched.
func (n narrowed) had(err error) (narrowed, error) {
	if isLost(orLost(err)) {
		n.old = nil
		return n, nil
	}
	n.known = err == nil
	return n, err
}

// piece is what is matched by itself.
type piece struct {
	inventory pratique.Inventory
	// key is that of packages, zero for a whole part. What is found in the packages is the same in every list of that kind,
	// but for where they lie in it: the answer has the package's number among places as its uid, and no layer.
	key    pratique.Digest
	places []scanner.Place
	// known says that found is the answer, and covered what there were advisories for.
	known   bool
	found   []scanner.Found
	covered *pratique.Coverage
}

// cut makes pieces of a list of an application: packages of one name stay together, because only among them the matcher
// tells repetitions.
func cut(part pratique.Inventory) ([]piece, error) {
	var pieces []piece
	for _, l := range part.Lists {
		byName := map[string][]pratique.Package{}
		var names []string
		for _, p := range l.Packages {
			if byName[p.Name] == nil {
				names = append(names, p.Name)
			}
			byName[p.Name] = append(byName[p.Name], p)
		}
		for _, name := range names {
			one := l
			one.Packages = byName[name]
			p := piece{inventory: pratique.Inventory{Scanner: part.Scanner, Lists: []pratique.PackageList{one}}}
			for i := range one.Packages {
				pkg := &one.Packages[i]
				p.places = append(p.places, scanner.Place{Layer: pkg.Layer, UID: pkg.UID})
				pkg.Layer, pkg.UID = pratique.LayerID{}, strconv.Itoa(i)
			}
			raw, err := json.Marshal(p.inventory)
			if err != nil {
				return nil, pratique.Wrap(pratique.Internal, "encode package", name, err)
			}
			p.key = pratique.DigestOf(raw)
			pieces = append(pieces, p)
		}
	}
	return pieces, nil
}
