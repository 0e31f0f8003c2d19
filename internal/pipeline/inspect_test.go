package pipeline_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// TestInspectInOrder: an image is resolved, parsed, inspected and scanned, and then handed on, each
// once.
func TestInspectInOrder(t *testing.T) {
	w := newWorld(t)
	m := w.publish(w.event("e1", "1.0"))
	w.forget()
	w.mustHandle(m)
	w.inOrder("resolve 1.0", "fact resolved app", "fetch app", "parse app", "fact inspected app",
		"fact scanned app", "enqueue attest e1.attest")
	w.inOrder("parse app", "match app", "fact scanned app")
	w.endsWith("enqueue attest e1.attest")
	if w.held != 0 {
		t.Errorf("%d images are still held", w.held)
	}

	inspected := w.newest(w.subject("app"), pratique.FactInspected)
	if inspected.Event != "e1" || inspected.By != "inspect@host" ||
		pratique.As[pratique.Inspected](inspected).Packages != 1 || !inspected.At.Equal(w.now) {
		t.Errorf("inspected %+v", inspected)
	}
	matched := pratique.As[pratique.Scanned](w.newest(w.subject("app"), pratique.FactScanned))
	if matched.Inventory != pratique.As[pratique.Inspected](inspected).Inventory ||
		matched.Database != w.database.Database {
		t.Errorf("matched %+v", matched)
	}
	for _, d := range []pratique.Digest{pratique.As[pratique.Inspected](inspected).Inventory,
		pratique.As[pratique.Inspected](inspected).SPDX,
		pratique.As[pratique.Inspected](inspected).CycloneDX, matched.Report} {
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
	if report.DatabaseAgeSeconds != 90*60 || report.Database != w.database.Database ||
		report.Inventory != matched.Inventory {
		t.Errorf("report %+v", report)
	}
}

// TestInspectAgain pushes twice, with something else in between, and wants only the work that the
// change asks for.
func TestInspectAgain(t *testing.T) {
	const none, inspect, scan = 0, 1, 2 // the same inventory is not scanned again
	tests := []struct {
		name   string
		change func(w *world)
		want   int
	}{
		{"nothing changed", func(*world) {}, none},
		{"much later", func(w *world) { w.now = w.now.Add(1000 * time.Hour) }, none},
		{"another policy", func(w *world) { w.policy.Digest = pratique.DigestOf([]byte("2")) }, none},
		{"new database", func(w *world) { w.useDatabase("database 2") }, scan},
		{"same database from elsewhere", func(w *world) {
			w.database.Source, w.database.Dir = "mirror", "/other"
		}, none},
		{"new scanner", func(w *world) { w.scanner.Version = "2" }, inspect | scan},
		{"other scanner of that version", func(w *world) { w.scanner.Name = "grype" }, inspect | scan},
		{"secrets are looked for now", func(w *world) {
			w.extras = []pratique.ExtraKind{pratique.ExtraSecrets}
		}, inspect},
		{"scanned was lost", func(w *world) { w.drop(pratique.FactScanned) }, scan},
		{"inspected was lost", func(w *world) { w.drop(pratique.FactInspected) }, inspect},
		{"an early version did not compare", func(w *world) {
			for i, f := range w.facts {
				if f.Kind() == pratique.FactInspected {
					early := *pratique.As[pratique.Inspected](f)
					early.Compared = nil
					w.facts[i].Body = &early
				}
			}
		}, inspect},
		{"the digest was an index so far", func(w *world) {
			w.facts = append(w.facts, pratique.Fact{Subject: w.subject("app"), Body: &pratique.Inspected{
				Scanner: w.scanner, Children: []pratique.Child{{Digest: w.digest("x")}},
			}})
		}, inspect},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.mustHandle(w.publish(w.event("e1", "1.0")))
			tt.change(w)
			m := w.publish(w.event("e2", "1.0"))
			w.forget()
			w.mustHandle(m)
			for work, lines := range map[int][]string{
				inspect: {"fetch app", "parse app", "fact inspected app"},
				scan:    {"match app", "fact scanned app"},
			} {
				if tt.want&work == 0 {
					w.never(lines...)
				} else {
					w.inOrder(append(append([]string{"fact resolved app"}, lines...),
						"enqueue attest e2.attest")...)
				}
			}
			w.endsWith("enqueue attest e2.attest")
		})
	}
}

// TestDatabaseChangesMeanwhile: rescanning may have dealt with the image by the time that a report
// against the old database is ready, so there is none.
func TestDatabaseChangesMeanwhile(t *testing.T) {
	w := newWorld(t)
	m := w.publish(w.event("e1", "1.0"))
	w.forget()
	w.after = map[string]func(){"match app": func() { w.useDatabase("database 2") }}
	w.mustHandle(m)
	w.inOrder("parse app", "fact inspected app", "fact scanned app", "enqueue attest e1.attest")
	if n := w.count("match app"); n != 2 {
		t.Errorf("matched %d times, want once for each database", n)
	}
	if matched := pratique.As[pratique.Scanned](w.newest(w.subject("app"),
		pratique.FactScanned)); matched.Database != w.database.Database {
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
	w.inOrder("fact resolved app", "fetch app", "parse app", "fact inspected app",
		"fact scanned app", "enqueue attest e2.attest")
	w.inOrder("match app", "fact scanned app")
}

func TestInspectIndex(t *testing.T) {
	w := newWorld(t)
	w.image("2.0", "index", "linux/amd64 amd", "linux/arm64 arm")
	m := w.publish(w.event("e1", "2.0"))
	w.forget()
	w.fail["parse arm"] = pratique.Errorf(pratique.Exhausted, "parse", "too large")
	err, _ := w.handle(m)
	isKind(t, err, pratique.Exhausted, w.fail["parse arm"])
	w.inOrder("fact resolved index", "parse amd", "fact inspected amd", "fact scanned amd", "parse arm")
	same(t, "done after the second child failed", []string{}, w.afterFailure())
	w.forget()

	delete(w.fail, "parse arm")
	w.mustHandle(m)
	w.never("fetch amd", "parse amd", "match amd", "fact inspected amd", "fact scanned amd")
	w.inOrder("fetch arm", "parse arm", "fact inspected arm", "fact scanned arm",
		"fact inspected index", "enqueue attest e1.attest")
	w.inOrder("match arm", "fact scanned arm")
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
	w.inOrder("fact resolved app", "fact completed app")
	w.never("fetch", "enqueue")
	end := w.newest(w.subject("app"), pratique.FactCompleted)
	same(t, "end", &pratique.Completed{State: pratique.StateIgnored, Detail: "it is a chart",
		Ref: ref("1.0")}, pratique.As[pratique.Completed](end))
}

// TestInspectErrors fails each call in turn: the error keeps its kind, nothing is done after it but
// what the call runs beside, nothing is held, and the next delivery completes the work.
func TestInspectErrors(t *testing.T) {
	for call, beside := range map[string][]string{
		"resolve 1.0": nil, "fact resolved app": nil, "last inspected app": nil, "fetch app": nil,
		"parse app":          nil,
		"fact inspected app": nil, "fact scanned app": nil, "enqueue attest e1.attest": nil,
		// Documents are stored while the image is scanned, and an inspection is recorded though the
		// scan failed.
		"put": {"match app"}, "database": {"fact inspected app"},
		"last scanned app": {"fact inspected app"}, "match app": {"fact inspected app"},
	} {
		for _, kind := range []pratique.Kind{pratique.Unavailable, pratique.Corrupt, pratique.Denied} {
			t.Run(call+"/"+kind.String(), func(t *testing.T) {
				w := newWorld(t)
				m := w.publish(w.event("e1", "1.0"))
				w.fail[call] = pratique.Errorf(kind, "do", "as told")
				err, _ := w.handle(m)
				isKind(t, err, kind, w.fail[call])
				for _, line := range w.afterFailure() {
					if !slices.Contains(beside, line) {
						t.Errorf("%q was done after %s had failed", line, call)
					}
				}
				if inspected := w.count("fact inspected app") == 1; slices.Contains(beside,
					"fact inspected app") && !inspected {
					t.Error("the inspection is not recorded")
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
	w.inOrder("match app", "fact scanned app", "enqueue attest e2.attest")
	w.never("fetch", "parse", "fact inspected")
}

// TestInspectDamagedInventory: a document that is not what it was, or is gone, is not matched but
// made again.
func TestInspectDamagedInventory(t *testing.T) {
	w := newWorld(t)
	m := w.publish(w.event("e1", "1.0"))
	w.mustHandle(m)
	w.drop(pratique.FactScanned)
	inventory := pratique.As[pratique.Inspected](w.newest(w.subject("app"),
		pratique.FactInspected)).Inventory
	w.documents[inventory] = []byte(`{"lists":`)
	w.forget()
	w.mustHandle(m)
	delete(w.documents, inventory)
	w.drop(pratique.FactScanned)
	w.mustHandle(m)
	if n := w.count("parse app"); n != 2 {
		t.Errorf("the image was parsed %d times, want once for each loss", n)
	}
}

var errPlain = errors.New("a library that does not say")

func TestUnclassifiedErrorsStayUnknown(t *testing.T) {
	w := newWorld(t)
	w.fail["parse app"] = errPlain
	err, _ := w.handle(w.publish(w.event("e1", "1.0")))
	isKind(t, err, pratique.Unknown, errPlain)
}

// TestLateRedelivery: the acknowledgement was lost, and the message comes again when its event is
// over.
func TestLateRedelivery(t *testing.T) {
	w := newWorld(t)
	m := w.publish(w.event("e1", "1.0"))
	w.mustHandle(m)
	w.mustHandle(w.queue[1])
	w.mustHandle(w.queue[2])
	w.newest(w.subject("app"), pratique.FactCompleted)
	w.forget()
	w.mustHandle(m)
	w.never("fact", "fetch", "parse", "match", "enqueue")
}
