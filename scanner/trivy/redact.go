//go:build goexperiment.jsonv2

package trivy

import (
	"slices"
	"strings"

	"github.com/aquasecurity/trivy/pkg/fanal/secret"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

// redactor removes from Trivy's findings what they quote from an image, which may be a credential:
// the lines around a secret, and the causes of a misconfiguration, which Trivy does not mask. A
// secret keeps its own line, masked.
type redactor struct{ scanner secret.Scanner }

func newRedactor() redactor { return redactor{secret.NewScanner(nil)} }

// quotesConfig reports whether the message of a check quotes confidential content of a ConfigMap.
func quotesConfig(id string) bool { return slices.Contains([]string{"KSV-0109", "KSV-01010"}, id) }

// message returns a check's message, or its title if the message quotes a credential.
func (h redactor) message(id, message, title string) string {
	args := secret.ScanArgs{FilePath: "message", Content: strings.NewReader(message)}
	if quotesConfig(id) || len(h.scanner.Scan(args).Findings) > 0 {
		return title
	}
	return message
}

// redactLayer redacts the analysis of a layer. Checks that passed are removed: nobody reports them.
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
				results[j].CauseMetadata = ftypes.CauseMetadata{StartLine: r.StartLine,
					EndLine: r.EndLine}
				results[j].Traces = nil
			}
		}
	}
}
