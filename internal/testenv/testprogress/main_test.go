package main

import (
	"strings"
	"testing"
	"time"
)

// TestReport: packages are shown when they end, with the words of those tests alone that failed.
func TestReport(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var out strings.Builder
	r := newReport(&out, func() time.Time { return now })
	follow := func(lines ...string) string {
		out.Reset()
		if err := r.follow(strings.NewReader(strings.Join(lines, "\n") + "\n")); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	follow(`{"Action":"start","Package":"a"}`, `{"Action":"start","Package":"b"}`,
		`{"Action":"output","Package":"a","Test":"TestGood","Output":"noise\n"}`,
		`{"Action":"pass","Package":"a","Test":"TestGood"}`,
		`{"Action":"output","Package":"a","Test":"TestBad","Output":"bad\n"}`,
		`{"Action":"fail","Package":"a","Test":"TestBad"}`,
		`{"Action":"output","Package":"a","Output":"coverage\n"}`)
	now = now.Add(21 * time.Second)
	if r.beat(); !strings.Contains(out.String(), "running: a for 21s, b for 21s; 0 packages tested") {
		t.Error(out.String())
	}
	if got := follow(`{"Action":"pass","Package":"b","Elapsed":1.25}`); !strings.HasPrefix(got,
		"ok    b ") || !strings.HasSuffix(got, " 1.2s\n") {
		t.Error(got)
	}
	if got := follow(`{"Action":"fail","Package":"a","Elapsed":2}`); !strings.HasPrefix(got,
		"bad\ncoverage\nFAIL  a ") || strings.Contains(got, "noise") {
		t.Error(got)
	}
	if got := follow(`{"Action":"build-output","ImportPath":"c","Output":"c.go:1: broken\n"}`,
		`FAIL c [build failed]`); got != "c.go:1: broken\nFAIL c [build failed]\n" {
		t.Error(got)
	}
	out.Reset()
	if r.beat(); !strings.Contains(out.String(), "building; 2 packages tested") {
		t.Error(out.String())
	}
}
