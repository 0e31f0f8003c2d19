package pipeline_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// TestInspectInOrder spells out one delivery: what is looked up, done and recorded, and each edge around it.
func TestInspectInOrder(t *testing.T) {
	w := newWorld(t)
	m := w.publish(w.event("e1", "1.0"))
	w.journal = nil
	w.mustHandle(m)
	// SBOMs are stored beside matching.
	beside := func(entry string) bool { return entry == "put" }
	same(t, "journal", []string{
		"last completed ", "resolve 1.0", "last completed app",
		"edge inspect:before-resolved", "fact resolved app", "edge inspect:after-resolved",
		"last completed ", "last inspected app", "fetch app", "parse app", "release app",
		"database", "last scanned app", "match app",
		"edge inspect:before-inspected", "fact inspected app", "edge inspect:after-inspected",
		"database", "edge inspect:before-scanned", "fact scanned app", "edge inspect:after-scanned",
		"last completed ", "edge attest:before-enqueue", "enqueue attest e1.attest", "edge attest:after-enqueue",
	}, slices.DeleteFunc(slices.Clone(w.journal), beside))
	if n := len(w.journal) - len(slices.DeleteFunc(slices.Clone(w.journal), beside)); n != 6 {
		t.Errorf("%d documents were stored", n)
	}

	inspected := w.newest(w.subject("app"), pratique.FactInspected)
	if inspected.Event != "e1" || inspected.By != "inspect@host" || pratique.As[pratique.Inspected](inspected).Packages != 1 || !inspected.At.Equal(w.now) {
		t.Errorf("inspected %+v", inspected)
	}
	matched := pratique.As[pratique.Scanned](w.newest(w.subject("app"), pratique.FactScanned))
	if matched.Inventory != pratique.As[pratique.Inspected](inspected).Inventory || matched.Database != w.database.Database {
		t.Errorf("matched %+v", matched)
	}
	for _, d := range []pratique.Digest{pratique.As[pratique.Inspected](inspected).Inventory, pratique.As[pratique.Inspected](inspected).SPDX, pratique.As[pratique.Inspected](inspected).CycloneDX, matched.Report} {
		if w.documents[d] == nil {
			t.Errorf("document %s is not stored", d)
		}
	}
	if next := w.last(); next.priority != pratique.PriorityPush || next.stage != pratique.StageAttest {
		t.Errorf("the next message is %+v", next)
	}
}

func TestInspectCountsFindingsAndAge(t *testing.T) {
	w := newWorld(t)
	w.bad["app"] = true
	w.mustHandle(w.publish(w.event("e1", "1.0")))
	matched := pratique.As[pratique.Scanned](w.newest(w.subject("app"), pratique.FactScanned))
	if matched.Counts[pratique.SeverityCritical] != 1 || matched.Fixable != 1 {
		t.Errorf("counts %v, fixable %d", matched.Counts, matched.Fixable)
	}
	report, err := scanner.LoadReport(t.Context(), documents{w}, *matched)
	if err != nil || len(report.Findings) != 1 {
		t.Fatalf("report %+v, %v", report, err)
	}
	if report.DatabaseAgeSeconds != 90*60 || report.Database != w.database.Database || report.Inventory != matched.Inventory {
		t.Errorf("report %+v", report)
	}
}

// TestInspectAgain pushes twice, with something else in between, and wants only the work that the change asks for.
func TestInspectAgain(t *testing.T) {
	all := []string{"fetch app", "parse app", "database", "match app", "fact inspected app", "database", "fact scanned app"}
	again := []string{"fetch app", "parse app", "database", "fact inspected app"} // the same inventory is matched already
	tests := []struct {
		name   string
		change func(w *world)
		want   []string // between "resolved" and the hand-over
	}{
		{"nothing changed", func(*world) {}, []string{"database"}},
		{"much later", func(w *world) { w.now = w.now.Add(1000 * time.Hour) }, []string{"database"}},
		{"another policy", func(w *world) { w.policy.Digest = pratique.DigestOf([]byte("2")) }, []string{"database"}},
		{"new database", func(w *world) { w.useDatabase("database 2") }, []string{"database", "match app", "database", "fact scanned app"}},
		{"same database from elsewhere", func(w *world) { w.database.Source, w.database.Dir = "mirror", "/other" }, []string{"database"}},
		{"new scanner", func(w *world) { w.scanner.Version = "2" }, all},
		{"other scanner of that version", func(w *world) { w.scanner.Name = "grype" }, all},
		{"secrets are looked for now", func(w *world) { w.extras = []pratique.ExtraKind{pratique.ExtraSecrets} }, again},
		{"matched was lost", func(w *world) { w.drop(pratique.FactScanned) }, []string{"database", "match app", "database", "fact scanned app"}},
		{"inspected was lost", func(w *world) { w.drop(pratique.FactInspected) }, again},
		{"an early version did not compare", func(w *world) {
			for i, f := range w.facts {
				if f.Kind() == pratique.FactInspected {
					early := *pratique.As[pratique.Inspected](f)
					early.Compared = nil
					w.facts[i].Body = &early
				}
			}
		}, again},
		{"the digest was an index so far", func(w *world) {
			w.facts = append(w.facts, pratique.Fact{Subject: w.subject("app"), Body: &pratique.Inspected{
				Scanner: w.scanner, Children: []pratique.Child{{Digest: w.digest("x")}},
			}})
		}, again},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.mustHandle(w.publish(w.event("e1", "1.0")))
			tt.change(w)
			m := w.publish(w.event("e2", "1.0"))
			w.forget()
			w.mustHandle(m)
			want := append([]string{"resolve 1.0", "fact resolved app"}, tt.want...)
			same(t, "work", append(want, "enqueue attest e2.attest"), w.forget())
		})
	}
}

// TestDatabaseChangesMeanwhile: rescanning may have dealt with the image by the time that a report against the old
// database is ready, so there is none.
func TestDatabaseChangesMeanwhile(t *testing.T) {
	w := newWorld(t)
	m := w.publish(w.event("e1", "1.0"))
	w.forget()
	w.after = map[string]func(){"match app": func() { w.useDatabase("database 2") }}
	w.mustHandle(m)
	same(t, "work", []string{
		"resolve 1.0", "fact resolved app", "fetch app", "parse app", "database", "match app", "fact inspected app",
		"database", "database", "match app", "database", "fact scanned app", "enqueue attest e1.attest",
	}, w.forget())
	if matched := pratique.As[pratique.Scanned](w.newest(w.subject("app"), pratique.FactScanned)); matched.Database != w.database.Database {
		t.Errorf("matched against %s", matched.Database.Digest)
	}
}

func (w *world) drop(kind pratique.FactKind) {
	var kept []pratique.Fact
	for _, f := range w.facts {
		if f.Kind() != kind {
			kept = append(kept, f)
		}
	}
	w.facts = kept
}

// TestInspectSharesNothingBetweenRepositories: the same digest elsewhere is another subject.
func TestInspectSharesNothingBetweenRepositories(t *testing.T) {
	w := newWorld(t)
	w.mustHandle(w.publish(w.event("e1", "1.0")))
	other := w.event("e2", "1.0")
	other.Ref.Repository.Path = "team/other"
	manifest := w.manifests[ref("1.0").String()]
	manifest.Subject.Repository.Path = "team/other"
	w.manifests[other.Ref.String()] = manifest
	m := w.publish(other)
	w.forget()
	w.mustHandle(m)
	same(t, "work", []string{
		"resolve 1.0", "fact resolved app", "fetch app", "parse app", "database", "match app", "fact inspected app", "database", "fact scanned app",
		"enqueue attest e2.attest",
	}, w.forget())
}

func TestInspectIndex(t *testing.T) {
	w := newWorld(t)
	w.image("2.0", "index", "linux/amd64 amd", "linux/arm64 arm")
	m := w.publish(w.event("e1", "2.0"))
	w.forget()
	w.fail["parse arm"] = pratique.Errorf(pratique.Exhausted, "parse", "too large")
	err, _ := w.handle(m)
	isKind(t, err, pratique.Exhausted, w.fail["parse arm"])
	same(t, "work until the second child failed", []string{
		"resolve 2.0", "fact resolved index", "fetch amd", "parse amd", "database", "match amd", "fact inspected amd", "database", "fact scanned amd",
		"fetch arm", "parse arm",
	}, w.forget())

	delete(w.fail, "parse arm")
	w.mustHandle(m)
	same(t, "work of the redelivery", []string{
		"resolve 2.0", "fact resolved index", "database", "fetch arm", "parse arm", "database", "match arm", "fact inspected arm", "database", "fact scanned arm",
		"fact inspected index", "enqueue attest e1.attest",
	}, w.forget())
	got := pratique.As[pratique.Inspected](w.newest(w.subject("index"), pratique.FactInspected))
	if len(got.Children) != 2 || !got.Inventory.IsZero() {
		t.Errorf("the index lists %+v", got)
	}
	if w.held != 0 {
		t.Errorf("%d images are still held", w.held)
	}
}

func TestInspectNotImage(t *testing.T) {
	w := newWorld(t)
	manifest := w.manifests[ref("1.0").String()]
	manifest.NotImage = "it is a chart"
	w.manifests[ref("1.0").String()] = manifest
	m := w.publish(w.event("e1", "1.0"))
	w.forget()
	w.mustHandle(m)
	same(t, "work", []string{"resolve 1.0", "fact resolved app", "fact completed app"}, w.forget())
	settled := w.newest(w.subject("app"), pratique.FactCompleted)
	same(t, "end", &pratique.Completed{State: pratique.StateIgnored, Detail: "it is a chart", Ref: ref("1.0")}, pratique.As[pratique.Completed](settled))
}

// TestInspectErrors fails each call in turn: the error keeps its kind, nothing that comes after is done, but that an
// inspection is recorded that could not be matched, nothing is held, and the next delivery completes the work.
func TestInspectErrors(t *testing.T) {
	for _, call := range []string{
		"resolve 1.0", "fact resolved app", "last inspected app", "fetch app", "parse app", "put", "fact inspected app",
		"database", "last scanned app", "match app", "database", "fact scanned app", "enqueue attest e1.attest",
	} {
		for _, kind := range []pratique.Kind{pratique.Unavailable, pratique.Corrupt, pratique.Denied} {
			t.Run(call+"/"+kind.String(), func(t *testing.T) {
				w := newWorld(t)
				m := w.publish(w.event("e1", "1.0"))
				w.fail[call] = pratique.Errorf(kind, "do", "as told")
				err, _ := w.handle(m)
				isKind(t, err, kind, w.fail[call])
				done := effects(w.journal)
				if last := len(done) - 1; call == "database" || call == "match app" {
					if done[last] != "fact inspected app" {
						t.Errorf("the inspection is not recorded: %v", done)
					}
					done = done[:last]
				}
				if call != "put" && call[:4] != "last" && done[len(done)-1] != call {
					t.Errorf("after %s came %v", call, done)
				}
				if len(w.queue) != 1 || w.held != 0 {
					t.Errorf("%d messages, %d images held", len(w.queue), w.held)
				}
				delete(w.fail, call)
				w.mustHandle(m)
				if len(w.queue) != 2 {
					t.Error("the redelivery did not complete")
				}
			})
		}
	}
}

// TestInspectStoreAway: an inventory that cannot be read for now is not made again, but waited for.
func TestInspectStoreAway(t *testing.T) {
	w := newWorld(t)
	w.mustHandle(w.publish(w.event("e1", "1.0")))
	w.useDatabase("database 2")
	m := w.publish(w.event("e2", "1.0"))
	w.fail["get"] = pratique.Errorf(pratique.Unavailable, "do", "as told")
	err, _ := w.handle(m)
	isKind(t, err, pratique.Unavailable, w.fail["get"])
	delete(w.fail, "get")
	w.forget()
	w.mustHandle(m)
	same(t, "work of the redelivery", []string{
		"resolve 1.0", "fact resolved app", "database", "match app", "database", "fact scanned app", "enqueue attest e2.attest",
	}, w.forget())
}

// TestInspectDamagedInventory: a document that is not what it was, or is gone, is not matched but made again.
func TestInspectDamagedInventory(t *testing.T) {
	w := newWorld(t)
	m := w.publish(w.event("e1", "1.0"))
	w.mustHandle(m)
	w.drop(pratique.FactScanned)
	inventory := pratique.As[pratique.Inspected](w.newest(w.subject("app"), pratique.FactInspected)).Inventory
	w.documents[inventory] = []byte(`{"lists":`)
	w.forget()
	w.mustHandle(m)
	delete(w.documents, inventory)
	w.drop(pratique.FactScanned)
	w.mustHandle(m)
	parsed := slices.DeleteFunc(w.forget(), func(line string) bool { return line != "parse app" })
	if len(parsed) != 2 {
		t.Errorf("the image was parsed %d times, want once for each loss", len(parsed))
	}
}

var errPlain = errors.New("a library that does not say")

func TestUnclassifiedErrorsStayUnknown(t *testing.T) {
	w := newWorld(t)
	w.fail["parse app"] = errPlain
	err, _ := w.handle(w.publish(w.event("e1", "1.0")))
	isKind(t, err, pratique.Unknown, errPlain)
}

// TestLateRedelivery: the acknowledgement was lost, and the message comes again when its event is over.
func TestLateRedelivery(t *testing.T) {
	w := newWorld(t)
	m := w.publish(w.event("e1", "1.0"))
	w.mustHandle(m)
	w.mustHandle(w.queue[1])
	w.mustHandle(w.queue[2])
	w.newest(w.subject("app"), pratique.FactCompleted)
	w.forget()
	w.mustHandle(m)
	same(t, "work", []string{"resolve 1.0"}, w.forget())
}
