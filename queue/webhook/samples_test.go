package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// Every directory of testdata is a format, every file in it a request as its sender makes it:
// *.json is a body, *.http has a header before it, and may begin with "METHOD /". receiver.json
// says how the sender and the receiver were set up, golden.json what is to come of each request.
var update = flag.Bool("update", false, "write testdata/*/golden.json anew")

// setup is receiver.json. Method, Header and Prefix are what the sender does; the receiver is given
// nothing but the method, so that a wrong default of the format shows.
type setup struct {
	Registry string
	Aliases  []string
	Prefixes map[string]string
	Untagged bool
	Method   webhook.Method
	Header   string
	Prefix   string
}

// shown is a notification without its empty fields.
type shown struct {
	ID         string         `json:"id,omitempty"`
	Action     webhook.Action `json:"action"`
	Host       string         `json:"host,omitempty"`
	Key        string         `json:"key,omitempty"`
	Repository string         `json:"repository,omitempty"`
	Tag        string         `json:"tag,omitempty"`
	Digest     string         `json:"digest,omitempty"`
	MediaType  string         `json:"mediaType,omitempty"`
	ConfigType string         `json:"configType,omitempty"`
	Layers     []string       `json:"layers,omitempty"`
	Actor      string         `json:"actor,omitempty"`
	At         time.Time      `json:"at,omitzero"`

	Subscription string `json:"subscription,omitempty"`
	Err          reason `json:"err,omitzero"`
}

// reason is why a notification cannot be read.
type reason struct{ error }

func (r reason) MarshalText() ([]byte, error) { return []byte(promised(r.Error())), nil }

// golden is what is to come of one request. Events are "image by actor at time as delivery".
type golden struct {
	Notifications []shown         `json:"notifications,omitempty"`
	Error         string          `json:"error,omitempty"`
	Status        int             `json:"status"`
	Header        []string        `json:"header,omitempty"`
	Answer        json.RawMessage `json:"answer,omitempty"`
	Events        []string        `json:"events,omitempty"`
	Drops         []string        `json:"drops,omitempty"`
}

type sample struct {
	method string
	header http.Header
	body   []byte
}

const (
	sampleSecret = "0123456789abcdef-sample"
	wrongSecret  = "0123456789abcdef-wrong"
)

func TestSamples(t *testing.T) {
	t.Parallel()
	formats := map[string]webhook.Format{}
	for _, f := range webhook.Formats() {
		formats[f.Name] = f
	}
	for _, dir := range sampleDirs(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			format, ok := formats[filepath.Base(dir)]
			if !ok {
				t.Fatal("there is no such format")
			}
			var s setup
			readJSON(t, filepath.Join(dir, "receiver.json"), &s)
			got := map[string]golden{}
			for _, path := range sampleFiles(t, dir) {
				got[filepath.Base(path)] = s.outcome(t, format, readSample(t, path))
			}
			compare(t, filepath.Join(dir, "golden.json"), got)
		})
	}
}

// outcome sends the request to a receiver with the right and with a wrong secret.
func (s setup) outcome(t *testing.T, format webhook.Format, one sample) golden {
	t.Helper()
	var out golden
	all, err := webhook.Parse(format.Name, one.header, one.body)
	for _, n := range all {
		out.Notifications = append(out.Notifications, shown{
			ID: n.ID, Action: n.Action, Host: n.Host, Key: n.Key, Repository: n.Repository,
			Tag: n.Tag, Digest: n.Digest,
			MediaType: n.MediaType, ConfigType: n.ConfigType, Layers: n.Layers, Actor: n.Actor, At: n.At,
			Subscription: n.Subscription, Err: reason{n.Err},
		})
	}
	if err != nil {
		out.Error = promised(err.Error())
	}
	f := s.serve(t, format)
	// A signature is looked at after the content type, everything else before it.
	if status, _, _ := s.request(t, f, one, wrongSecret); status < 400 || status >= 500 {
		t.Errorf("with a wrong secret: status %d", status)
	}
	if len(f.events)+len(f.drops) > 0 {
		t.Errorf("with a wrong secret: events %v, drops %v", f.events, f.drops)
	}
	out.Status, out.Header, out.Answer = s.request(t, f, one, sampleSecret)
	for _, e := range f.events {
		text := e.Ref.String()
		for _, more := range [][2]string{{" by ", e.Actor}, {" at ", instant(e.OccurredAt)},
			{" as ", e.Delivery}} {
			if more[1] != "" {
				text += more[0] + more[1]
			}
		}
		out.Events = append(out.Events, text)
	}
	for _, d := range f.drops {
		out.Drops = append(out.Drops, d.Reason)
	}
	return out
}

func (s setup) serve(t *testing.T, format webhook.Format) *fixture {
	t.Helper()
	return serve(t, func(r *webhook.Receiver, _ *webhook.Limits) {
		r.Format, r.Registry, r.Aliases, r.Prefixes, r.Untagged = format.Name, s.Registry,
			s.Aliases, s.Prefixes, s.Untagged
		r.Repositories = nil
		if format.Name == "generic" {
			r.Parse = tagOf
		}
		r.Auth = webhook.Auth{Method: s.Method}
		switch s.Method {
		case webhook.MethodOIDC:
			r.Auth.Tokens = onlyToken("Bearer " + sampleSecret)
		case webhook.MethodBasic:
			r.Auth.Secrets = []string{"user:" + sampleSecret}
		default:
			r.Auth.Secrets = []string{sampleSecret}
		}
	})
}

// onlyToken is the one Authorization header that is good.
type onlyToken string

func (o onlyToken) Verify(_ context.Context, authorization string) error {
	if authorization == string(o) {
		return nil
	}
	return pratique.Errorf(pratique.Denied, "verify token", "not the token")
}

// request sends the sample as its sender would with that secret. The answer is nil if it has no
// body.
func (s setup) request(t *testing.T, f *fixture, one sample, secret string) (status int,
	header []string, answer json.RawMessage) {
	t.Helper()
	url := f.url
	if s.Method == webhook.MethodURL {
		url += "/" + secret
	}
	r, err := http.NewRequestWithContext(t.Context(), one.method, url, bytes.NewReader(one.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = one.header.Clone()
	s.show(r, one.body, secret)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, name := range []string{"Allow", "Retry-After", "WebHook-Allowed-Origin",
		"WebHook-Allowed-Rate"} {
		for _, value := range resp.Header.Values(name) {
			header = append(header, name+": "+value)
		}
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 0 {
		answer = libraryMessage.ReplaceAll(text, []byte("$1: …"))
	}
	return resp.StatusCode, header, answer
}

func (s setup) show(r *http.Request, body []byte, secret string) {
	header, value := s.Header, secret
	switch s.Method {
	case webhook.MethodURL:
		return
	case webhook.MethodBearer, webhook.MethodOIDC:
		header, value = "Authorization", "Bearer "+secret
	case webhook.MethodBasic:
		header, value = "Authorization", "Basic "+
			base64.StdEncoding.EncodeToString([]byte("user:"+secret))
	case webhook.MethodHMACSHA256, webhook.MethodHMACSHA1:
		sum := sha256.New
		if s.Method == webhook.MethodHMACSHA1 {
			sum = sha1.New
		}
		mac := hmac.New(sum, []byte(secret))
		mac.Write(body)
		value = hex.EncodeToString(mac.Sum(nil))
	case webhook.MethodHeader:
	}
	if header == "" {
		header = "Authorization"
	}
	r.Header.Set(header, s.Prefix+value)
}

// libraryMessage is what the JSON library says, inside of a JSON string: no format promises that.
var libraryMessage = regexp.MustCompile(`(jsontext|json): ([^"\\]|\\.)*`)

// promised is a message without what the JSON library says.
func promised(message string) string {
	quoted, _ := json.Marshal(message) // a string always can be
	var out string
	_ = json.Unmarshal(libraryMessage.ReplaceAll(quoted, []byte("$1: …")), &out)
	return out
}

func instant(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Format(time.RFC3339Nano)
}

func compare(t *testing.T, path string, got map[string]golden) {
	t.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(got); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func sampleDirs(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/*/receiver.json")
	if err != nil || len(all) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for i, path := range all {
		all[i] = filepath.Dir(path)
	}
	return all
}

// sampleFiles are the requests of a directory.
func sampleFiles(t testing.TB, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name != "receiver.json" && name != "golden.json" {
			all = append(all, filepath.Join(dir, name))
		}
	}
	return all
}

func readSample(t testing.TB, path string) sample {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(path) == ".http" {
		return parseSample(string(text))
	}
	return sample{http.MethodPost, http.Header{"Content-Type": {"application/json"}}, text}
}

// parseSample reads a *.http file. It takes any text, for the fuzzer.
func parseSample(text string) sample {
	out := sample{method: http.MethodPost}
	if first, rest, ok := strings.Cut(text, " /\n"); ok &&
		regexp.MustCompile(`^[A-Z]+$`).MatchString(first) {
		out.method, text = first, rest
	}
	r := bufio.NewReader(strings.NewReader(text))
	header, err := textproto.NewReader(r).ReadMIMEHeader()
	out.header = http.Header(header)
	if err != nil && !errors.Is(err, io.EOF) || out.header == nil {
		out.header = http.Header{}
	}
	out.body, _ = io.ReadAll(r) // from memory
	return out
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
