// Package rescan decides what a change of the vulnerability database means: what to ask the matcher
// about a package list, what the answers mean for the list's findings, and what to do about the
// images that have the list. The result is always the same as if everything was matched again. The
// package reads documents and writes nothing. It is also the contract with the inventory
// projection, which knows what is left to do.
package rescan

import (
	"encoding/json"
	"strconv"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Previous are the findings of a list with the previous database.
type Previous struct {
	// Document represents the findings.
	Document pratique.Digest
	Findings []scanner.FindingCore
	Coverage *pratique.Coverage
}

// Question is what to ask the matcher about a list.
type Question struct {
	// Queries are matched separately. There are none if the change does not affect the list.
	Queries []Query
	// partial reports that the queries are packages of the list, and not the whole list.
	partial bool
	// previous is nil if it is not known.
	previous *Previous
}

// Query is a list that is matched separately: a whole one, or packages of one.
type Query struct {
	Inventory pratique.Inventory
	// key is zero for a whole list. Queries with the same key have the same answer, whatever list
	// they are from: their packages have no layer, and their UIDs are indexes of locations.
	key       pratique.Digest
	locations []scanner.Location
}

func (q Query) packageName() string { return q.Inventory.Lists[0].Packages[0].Name }

// Ask returns the question about a list. Without previous findings or a change it is about the
// whole list.
func Ask(list scanner.ListDocument, previous *Previous, change *Change) (Question, error) {
	if indexes, ok := change.affectedPackages(list.Inventory, previous); ok {
		affected, err := list.DecodeOnly(indexes)
		if err != nil {
			return Question{}, err
		}
		if change.comparable(affected) {
			queries, err := splitByName(affected)
			return Question{Queries: queries, partial: true, previous: previous}, err
		}
	}
	whole, err := list.Decode()
	return Question{Queries: []Query{{Inventory: whole}}, previous: previous}, err
}

// splitByName makes a query for the packages with each name: the matcher removes duplicate findings
// among them.
func splitByName(inv pratique.Inventory) ([]Query, error) {
	var queries []Query
	list := inv.Lists[0]
	byName := map[string][]pratique.Package{}
	var names []string
	for _, p := range list.Packages {
		if byName[p.Name] == nil {
			names = append(names, p.Name)
		}
		byName[p.Name] = append(byName[p.Name], p)
	}
	for _, name := range names {
		list.Packages = byName[name]
		var q Query
		for i := range list.Packages {
			p := &list.Packages[i]
			q.locations = append(q.locations, scanner.Location{Layer: p.Layer, UID: p.UID})
			p.Layer, p.UID = pratique.LayerID{}, strconv.Itoa(i)
		}
		q.Inventory = inv
		q.Inventory.Lists = []pratique.PackageList{list}
		raw, err := json.Marshal(q.Inventory)
		if err != nil {
			return nil, pratique.Wrap(pratique.Internal, "encode package", name, err)
		}
		q.key = pratique.DigestOf(raw)
		queries = append(queries, q)
	}
	return queries, nil
}
