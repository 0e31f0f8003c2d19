package api

import (
	"io"

	"github.com/danielgtaylor/huma/v2"
	strict "github.com/go-json-experiment/json"

	"github.com/pratique-dev/pratique/internal/display"
)

// jsonFormat is the format of requests and responses. A body with duplicate names, names in another
// case, or bytes that are not UTF-8 is refused, because another reader could read another value.
// Text that would control a terminal is escaped in responses, because people read them with curl.
func jsonFormat() huma.Format {
	return huma.Format{
		Marshal: func(w io.Writer, v any) error {
			return huma.DefaultJSONFormat.Marshal(display.JSON(w), v)
		},
		Unmarshal: func(data []byte, v any) error {
			return strict.Unmarshal(data, v, strict.RejectUnknownMembers(true))
		},
	}
}
