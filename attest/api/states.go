package api

import (
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pratique-dev/pratique"
)

// state is a filter by [pratique.State].
type state pratique.State

// Schema implements [huma.SchemaProvider].
func (state) Schema(huma.Registry) *huma.Schema { return stateSchema() }

// TransformSchema implements [huma.SchemaTransformer].
func (Image) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema { return withStates(s) }

// TransformSchema implements [huma.SchemaTransformer].
func (ImageSummary) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return withStates(s)
}

// TransformSchema implements [huma.SchemaTransformer].
func (Submission) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema { return withStates(s) }

// withStates replaces the schema of the property "state".
func withStates(s *huma.Schema) *huma.Schema {
	s.Properties["state"] = stateSchema()
	return s
}

// stateSchema lists the states and their meanings, from the tables of the root package.
func stateSchema() *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	var meanings strings.Builder
	meanings.WriteString("How far the work has come, or how it ended.")
	for _, state := range pratique.States() {
		s.Enum = append(s.Enum, string(state))
		meanings.WriteString(" " + string(state) + ": " + state.Means())
	}
	s.Description = meanings.String()
	return s
}
