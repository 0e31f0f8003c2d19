//go:build goexperiment.jsonv2

package trivy

import (
	"slices"
	"strings"

	"github.com/aquasecurity/trivy/pkg/fanal/secret"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

// redactor takes out of what Trivy found what it quotes from an image, and may therefore be a credential: the lines
// around a secret, and the causes of a misconfiguration, which nothing masks. What is left of a secret is its own
// line, masked.
type redactor struct{ scanner secret.Scanner }

func newRedactor() redactor { return redactor{secret.NewScanner(nil)} }

// quotesConfig are checks whose message repeats what a ConfigMap holds that should not be there.
func quotesConfig(id string) bool { return slices.Contains([]string{"KSV-0109", "KSV-01010"}, id) }

// message is what a check says, or its title if that quotes a credential.
func (h redactor) message(id, message, title string) string {
	args := secret.ScanArgs{FilePath: "message", Content: strings.NewReader(message)}
	if quotesConfig(id) || len(h.scanner.Scan(args).Findings) > 0 {
		return title
	}
	return message
}

// redactLayer hides what is to be kept of a layer. Checks that passed are left out: nobody reports them.
func (h redactor) redactLayer(info *ftypes.BlobInfo) {
	for i := range info.Secrets {
		for j := range info.Secrets[i].Findings {
			info.Secrets[i].Findings[j].Code = ftypes.Code{}
		}
	}
	for i := range info.Misconfigurations {
		m := &info.Misconfigurations[i]
		m.Successes = nil
		for _, results := range []ftypes.MisconfResults{m.Warnings, m.Failures} {
			for j, r := range results {
				results[j].Message = h.message(r.ID, r.Message, r.Title)
				results[j].CauseMetadata = ftypes.CauseMetadata{StartLine: r.StartLine, EndLine: r.EndLine}
				results[j].Traces = nil
			}
		}
	}
}
