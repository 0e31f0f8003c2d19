package api_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
)

// TestPlaces: what Git holds now is told of each target, with whether it is the image that was
// asked about.
func TestPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	app := subject("app")
	w.facts(pratique.Fact{Subject: app, Event: "e1", At: now, By: "test", Body: &pratique.Resolved{
		Event:    pratique.Event{ID: "e1", Ref: pratique.ImageRef{Repository: repo, Tag: "1.0"}},
		Manifest: pratique.Manifest{Subject: app},
	}})
	res, raw := w.ask("GET", "/api/v1/images/"+app.Digest.String()+"/places", readToken, "")
	var got api.ImagePlaces
	if err := json.Unmarshal(raw, &got); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d, %v: %s", res.StatusCode, err, raw)
	}
	seen := now
	want := api.ImagePlaces{Image: app.String(), Targets: []api.TargetPlaces{
		{
			Target: "prod", Remote: "https://git.example/config.git", Branch: "main", Tip: "c0ffee",
			ObservedAt: &seen, Count: 2,
			Places: []api.HeldPlace{
				{Place: pratique.Place{Path: "a.yaml", Line: 3, Tag: "1.0", Digest: app.Digest},
					ThisImage: true},
				{Place: pratique.Place{Path: "b.yaml", Line: 4, Digest: digest("newer")}},
			},
		},
		{Target: "test", Remote: "https://git.example/config.git", Branch: "main",
			Failure: "could not look: it is away", Places: []api.HeldPlace{}},
	}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b pratique.Digest) bool {
		return a == b
	})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if res, _ := w.ask("GET", "/api/v1/images/"+digest("unknown").String()+"/places", readToken,
		""); res.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown image: %d", res.StatusCode)
	}
	if res, _ := w.ask("GET", "/api/v1/images/"+app.Digest.String()+"/places", "",
		""); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %d", res.StatusCode)
	}
}
