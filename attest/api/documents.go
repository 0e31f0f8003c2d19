package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pratique-dev/pratique"
)

// huma ignores the fields of embedded unexported structs, so these repeat those of imageInput.
type documentInput struct {
	Digest      string `path:"digest" maxLength:"80"`
	Repository  string `query:"repository" maxLength:"512"`
	IfNoneMatch string `header:"If-None-Match" maxLength:"1024"`
}

type sbomInput struct {
	Digest      string `path:"digest" maxLength:"80"`
	Repository  string `query:"repository" maxLength:"512"`
	IfNoneMatch string `header:"If-None-Match" maxLength:"1024"`
	Format      string `query:"format" enum:"spdx,cyclonedx" default:"spdx"`
}

type documentOutput struct {
	Status       int
	ContentType  string `header:"Content-Type"`
	ETag         string `header:"ETag" doc:"The digest of the stored document, in quotes; that of a report is weak, for the time is not in its document"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

type factsOutput struct {
	Body FactList
}

// FactList is the history of an image in the order of the ledger, at most [pratique.MaxHistory]
// facts.
type FactList struct {
	Items []pratique.FactRef `json:"items" doc:"At most 200: the first, the newest, and the last that is resolved or completed, in the order of the ledger"`
	Total int                `json:"total" doc:"How many facts there are"`
}

func (s *service) registerDocuments(api huma.API) {
	errs := []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict,
		http.StatusServiceUnavailable}
	content := func(types ...string) map[string]*huma.Response {
		r := &huma.Response{Description: "The document: an SBOM byte for byte as it was stored, a report put together from its parts", Content: map[string]*huma.MediaType{}}
		for _, t := range types {
			r.Content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeObject}}
		}
		return map[string]*huma.Response{"200": r, "304": {Description: "The client has it already"}}
	}
	huma.Register(api, huma.Operation{
		OperationID: "getSBOM", Method: http.MethodGet, Path: "/api/v1/images/{digest}/sbom",
		Tags:    []string{"images"},
		Summary: "The SBOM of an image", Responses: content(pratique.MediaTypeSPDX,
			pratique.MediaTypeCycloneDX), Errors: errs,
	}, answer(s, s.sbom))
	huma.Register(api, huma.Operation{
		OperationID: "getReport", Method: http.MethodGet, Path: "/api/v1/images/{digest}/report",
		Tags:      []string{"images"},
		Summary:   "The vulnerability report of an image",
		Responses: content(pratique.MediaTypeReport), Errors: errs,
	}, answer(s, s.report))
	huma.Register(api, huma.Operation{
		OperationID: "getExtras", Method: http.MethodGet, Path: "/api/v1/images/{digest}/extras",
		Tags:      []string{"images"},
		Summary:   "The secrets, misconfigurations and licenses of an image, as far as the service looks for them",
		Responses: content(pratique.MediaTypeExtras), Errors: errs,
	}, answer(s, s.extras))
	huma.Register(api, huma.Operation{
		OperationID: "getFacts", Method: http.MethodGet, Path: "/api/v1/images/{digest}/facts",
		Tags:    []string{"images"},
		Summary: "What happened to an image, when, and recorded by whom", Errors: errs,
	}, answer(s, func(_ context.Context, in *imageInput) (*factsOutput, error) {
		record, err := s.find(in)
		return &factsOutput{Body: FactList{Items: record.History, Total: record.Facts}}, err
	}))
}

func (s *service) sbom(ctx context.Context, in *sbomInput) (*documentOutput, error) {
	record, err := s.find(&imageInput{Digest: in.Digest, Repository: in.Repository})
	if err != nil {
		return nil, err
	}
	var digest pratique.Digest
	mediaType := pratique.MediaTypeSPDX
	if record.Inspected != nil {
		digest = record.Inspected.SPDX
	}
	if in.Format == "cyclonedx" {
		mediaType = pratique.MediaTypeCycloneDX
		if record.Inspected != nil {
			digest = record.Inspected.CycloneDX
		}
	}
	return s.document(ctx, record, "SBOM", digest, s.Documents.Get, mediaType, in.IfNoneMatch)
}

func (s *service) report(ctx context.Context, in *documentInput) (*documentOutput, error) {
	record, err := s.find(&imageInput{Digest: in.Digest, Repository: in.Repository})
	if err != nil {
		return nil, err
	}
	var scanned pratique.Scanned
	if record.Scanned != nil {
		scanned = *record.Scanned
	}
	get := func(ctx context.Context, _ pratique.Digest) ([]byte, error) { return s.Report(ctx, scanned) }
	out, err := s.document(ctx, record, "report", scanned.Report, get, pratique.MediaTypeReport,
		in.IfNoneMatch)
	if out != nil {
		out.ETag = "W/" + out.ETag // the same report may have another time
	}
	return out, err
}

func (s *service) extras(ctx context.Context, in *documentInput) (*documentOutput, error) {
	record, err := s.find(&imageInput{Digest: in.Digest, Repository: in.Repository})
	if err != nil {
		return nil, err
	}
	var digest pratique.Digest
	if i := record.Inspected; i != nil {
		digest = i.Extras
		if !i.Inventory.IsZero() && digest.IsZero() {
			return nil, pratique.Errorf(pratique.NotFound, "find document",
				"secrets, misconfigurations and licenses were not looked for in %s: inspect.scanners configures that", record.Subject)
		}
	}
	return s.document(ctx, record, "report on secrets, misconfigurations and licenses", digest,
		s.Documents.Get, pratique.MediaTypeExtras, in.IfNoneMatch)
}

type getDocument func(ctx context.Context, d pratique.Digest) ([]byte, error)

// document returns a document that a record names, or nothing if the client has it.
func (s *service) document(ctx context.Context, r pratique.Record, what string, d pratique.Digest,
	get getDocument, mediaType, ifNoneMatch string) (*documentOutput, error) {
	const op = "find document"
	if d.IsZero() {
		if children := childrenOf(r); len(children) > 0 {
			var names []string
			for _, c := range children {
				names = append(names, string(c.Platform)+" "+c.Digest.String())
			}
			return nil, pratique.Errorf(pratique.NotFound, op,
				"%s is an index; ask for the %s of one of its platforms: %s", r.Subject, what,
				strings.Join(names, ", "))
		}
		return nil, pratique.Errorf(pratique.NotFound, op, "there is no %s of %s yet", what, r.Subject)
	}
	// The image may get another document, so a cache has to revalidate.
	out := &documentOutput{Status: http.StatusOK, ContentType: mediaType, ETag: `"` + d.String() +
		`"`, CacheControl: "private, no-cache"}
	if matches(ifNoneMatch, out.ETag) {
		out.Status = http.StatusNotModified
		return out, nil
	}
	content, err := get(ctx, d)
	if pratique.KindOf(err) == pratique.NotFound {
		// The index names the document, so its loss is our fault.
		return nil, pratique.Wrap(pratique.Internal, op, d.String(), err)
	}
	out.Body = content
	return out, err
}

// matches compares weakly, as RFC 9110 requires for If-None-Match.
func matches(header, etag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == etag || candidate == "*" {
			return true
		}
	}
	return false
}
