// Package layers keeps image layers on disk: each layer is fetched once, checked against its digest
// and its diff id while it streams, decompressed once, and then read by every scanner from the same
// file.
package layers

import "github.com/pratique-dev/pratique"

// Image is one platform image on this machine: its manifest and configuration as the registry
// returned them, and its layers as tar files in a [Store]. It is sent as JSON to the process that
// parses it.
type Image struct {
	Subject   pratique.Subject  `json:"subject"`
	Platform  pratique.Platform `json:"platform"`
	MediaType string            `json:"mediaType"`
	Manifest  []byte            `json:"manifest"`
	Config    []byte            `json:"config"`
	// Layers are in the order of the manifest, lowest first.
	Layers []Layer `json:"layers"`
}

// Layer is one layer on disk.
type Layer struct {
	Digest pratique.Digest `json:"digest"`
	DiffID pratique.Digest `json:"diffID"`
	// DigestName and DiffIDName are the names in the manifest and in the configuration, if these
	// use sha512.
	DigestName pratique.ContentID `json:"digestName,omitzero"`
	DiffIDName pratique.ContentID `json:"diffIDName,omitzero"`
	MediaType  string             `json:"mediaType"`
	// Size is the compressed size in bytes, as the store checked it.
	Size int64 `json:"size"`
	// Entries is the number of headers in the tar stream.
	Entries int64 `json:"entries,omitempty"`
	// Path is the file with the decompressed tar stream. It stays until the image is released.
	Path string `json:"path"`
}
