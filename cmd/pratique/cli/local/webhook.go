package local

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/display"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// NewWebhook is the verbs about webhooks.
func NewWebhook() *cobra.Command {
	group := verb.NewGroup("webhook", "Try what a registry sends, without a server")
	group.AddCommand(newWebhookTest(), newWebhookFormats())
	return group
}

func newWebhookFormats() *cobra.Command {
	return &cobra.Command{
		Use: "formats", Short: "List the senders that are understood, and how each is answered",
		Long: `Lists the senders that are understood: how each can show who it is, best first; whether it tells the digest of what was
pushed, or the registry is asked for it; and the status that it gets for a notification that is wrong (REFUSED), and for a
moment in which nothing can be stored (BUSY). docs/webhooks.md says what to set where.`,
		Example: `  pratique webhook formats`, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(table, "FORMAT\tSENDER\tAUTH\tDIGEST\tREFUSED\tBUSY")
			for _, f := range webhook.Formats() {
				var methods []string
				for _, m := range f.Methods {
					methods = append(methods, string(m))
				}
				digest := "told"
				if f.Digestless {
					digest = "asked for"
				}
				a := f.Statuses()
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\n", f.Name, f.Sender,
					strings.Join(methods, ", "), digest, a.Refused, a.Busy)
			}
			return table.Flush()
		},
	}
}

func newWebhookTest() *cobra.Command {
	var format, configFile, receiverName string
	var headers []string
	test := &cobra.Command{
		Use:   "test FILE",
		Short: "Read a payload as the service would, and print its events or why there are none",
		Long: `Reads a payload from FILE (- is standard input), contacts nobody and stores nothing. FILE holds a body, or a whole
request as captured from the wire. Some senders say in a header what has happened: give it with --header.

With --config and --receiver the receiver's own registry, repositories and expressions decide; without, any host is
taken for the right one.

A body that is too large, too many events and a content type that is not taken are refused as they would be by the
service. Whether the sender has the right secret is not asked.

The status is 0 if a push would be evaluated, 1 if none would, and 2 if the payload cannot be read.`,
		Example: `  pratique webhook test --format dockerhub payload.json
  pratique webhook test --format ghcr --header 'X-GitHub-Event: package' payload.json
  pratique webhook test --config pratique.yaml --receiver main payload.json`,
		Args: verb.OneArg("the payload's file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			method, header, body, err := readPayload(args[0], cmd.InOrStdin(), headers)
			if err != nil {
				return err
			}
			receiver, err := receiverFor(format, configFile, receiverName)
			if err != nil {
				return err
			}
			all, greeted, err := webhook.Explain(receiver, method, header, body)
			if err != nil {
				return err
			}
			return printExplained(cmd.OutOrStdout(), all, greeted)
		},
	}
	test.Flags().StringVarP(&format, "format", "f", "",
		"the sender's format; pratique webhook formats lists them")
	test.Flags().StringArrayVarP(&headers, "header", "H", nil,
		"a header of the request, as 'Name: value'")
	test.Flags().StringVarP(&configFile, "config", "c", "", "configuration file")
	test.Flags().StringVarP(&receiverName, "receiver", "r", "", "name of a receiver in the configuration")
	return test
}

// receiverFor is a receiver of the configuration, or one of the format that takes everything.
func receiverFor(format, file, name string) (webhook.Receiver, error) {
	if (file == "") != (name == "") {
		return webhook.Receiver{}, errors.New("--config and --receiver go together")
	}
	if file == "" {
		if format == "" {
			return webhook.Receiver{}, errors.New("say whose payload it is: --format F (pratique webhook formats lists them), or --config and --receiver")
		}
		return webhook.Receiver{Name: "test", Format: format}, nil
	}
	conf, err := config.Load(file)
	if err != nil {
		return webhook.Receiver{}, err
	}
	all, err := settings.Receivers(conf)
	if err != nil {
		return webhook.Receiver{}, err
	}
	for _, r := range all {
		if r.Name == name {
			if format != "" && format != r.Format {
				return r, fmt.Errorf("receiver %s has the format %s", name, r.Format)
			}
			return r, nil
		}
	}
	return webhook.Receiver{}, fmt.Errorf("%s has no receiver %q", file, name)
}

// readPayload reads a body, or a captured request, which alone has a method.
func readPayload(file string, stdin io.Reader, headers []string) (method string, header http.Header,
	body []byte, err error) {
	if body, err = readBounded(file, stdin); err != nil {
		return "", nil, nil, err
	}
	header = http.Header{}
	if captured(body) {
		request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(body)))
		if err != nil {
			return "", nil, nil, fmt.Errorf("%s looks like a captured request, but: %w", file, err)
		}
		method, header = request.Method, request.Header
		if body, err = io.ReadAll(request.Body); err != nil {
			return "", nil, nil, fmt.Errorf("the body of the captured request: %w", err)
		}
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return "", nil, nil, fmt.Errorf("--header %q: want 'Name: value'", h)
		}
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return method, header, body, nil
}

// readBounded reads a file whole, or standard input. What is larger than any receiver takes is an
// error: cut off it would be evaluated as something else.
func readBounded(file string, stdin io.Reader) ([]byte, error) {
	const most = 16 << 20
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	body, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && len(body) > most {
		err = fmt.Errorf("%s is larger than 16 MiB, more than any receiver takes", file)
	}
	return body, err
}

func captured(content []byte) bool {
	return bytes.HasPrefix(content, []byte("POST ")) || bytes.HasPrefix(content, []byte("OPTIONS "))
}

func printExplained(w io.Writer, all []webhook.Explained, greeted bool) error {
	pushes := 0
	for _, e := range all {
		n := e.Notification
		switch {
		case e.Event != nil:
			pushes++
			ref, unnamed := strings.CutPrefix(e.Event.Ref.String(), webhook.NoRegistry+"/")
			fmt.Fprintf(w, "push     %s\n", display.Line(ref))
			if unnamed {
				fmt.Fprintln(w, "         the sender names no registry: that of the receiver is taken")
			}
			if e.Event.Ref.Digest.IsZero() {
				fmt.Fprintln(w,
					"         the sender does not tell the digest: the registry is asked what the tag names")
			}
			if e.Event.TagUnknown {
				fmt.Fprintln(w,
					"         the sender does not tell the tag: the registry is asked which tags name the digest")
			}
			for _, detail := range []struct{ what, value string }{
				{"by", e.Event.Actor}, {"id", e.Event.Delivery}, {"type", n.MediaType},
			} {
				if detail.value != "" {
					fmt.Fprintf(w, "         %s %s\n", detail.what, display.Line(detail.value))
				}
			}
			if !e.Event.OccurredAt.IsZero() {
				fmt.Fprintf(w, "         at %s\n", e.Event.OccurredAt.Format("2006-01-02 15:04:05 MST"))
			}
		case e.Ignored != "":
			fmt.Fprintf(w, "ignored  %s: %s\n", e.Ignored, display.Line(named(n)))
		default:
			fmt.Fprintf(w, "refused  %s: %s\n", e.Dropped, display.Line(e.Detail))
		}
	}
	switch {
	case greeted:
		fmt.Fprintln(w, "a handshake: it is answered, and there is nothing to evaluate")
	case len(all) == 0:
		fmt.Fprintln(w, "the payload reports nothing")
	}
	if pushes == 0 {
		return &verb.Error{Status: verb.Denied}
	}
	return nil
}

// named is what a notification is about, as far as it says.
func named(n webhook.Notification) string {
	s := n.Repository
	if n.Tag != "" {
		s += ":" + n.Tag
	}
	if n.Digest != "" {
		s += "@" + n.Digest
	}
	if s == "" {
		return "(no image named)"
	}
	return s
}
