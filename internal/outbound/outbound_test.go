package outbound

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

func TestSetup(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(server.Close)
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	ask := func(ca []byte) error {
		transport := &http.Transport{}
		if err := Setup(transport, ca); err != nil {
			t.Fatal(err)
		}
		response, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err == nil {
			err = response.Body.Close()
		}
		return err
	}
	if err := ask(own); err != nil {
		t.Error(err)
	}
	if err := Explain(ask(nil), "registries[].ca"); err == nil ||
		!strings.Contains(err.Error(), "to registries[].ca") {
		t.Errorf("an unknown authority: %v", err)
	}
	if err := errors.New("no route"); !errors.Is(Explain(err, "ca"), err) {
		t.Error("another error is not about certificates")
	}
	for name, ca := range map[string]string{
		"no PEM":        "certificate",
		"a key":         "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"damaged":       "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"the 2nd a key": string(own) + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	} {
		if err := Setup(&http.Transport{}, []byte(ca)); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProxy(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy",
		"NO_PROXY", "no_proxy"} {
		t.Setenv(name, "")
	}
	via := func(url string) string {
		request, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		proxy, err := Proxy()(request)
		if err != nil {
			t.Fatal(err)
		}
		if proxy == nil {
			return ""
		}
		return proxy.Host
	}
	if via("https://registry.example.com/v2/") != "" || ProxyVariable() != "" {
		t.Error("there is no proxy")
	}
	t.Setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
	t.Setenv("NO_PROXY", ".internal.example.com")
	for url, want := range map[string]string{
		"https://registry.example.com/v2/": "proxy.example.com:3128",
		"https://a.internal.example.com/":  "",
		"https://127.0.0.1:5000/v2/":       "", "https://localhost/v2/": "",
		"http://registry.example.com/v2/": "",
	} {
		if got := via(url); got != want {
			t.Errorf("%s: by %q, want %q", url, got, want)
		}
	}
	if ProxyVariable() != "HTTPS_PROXY" {
		t.Error(ProxyVariable())
	}
}
