package api

import (
	"io"

	"github.com/danielgtaylor/huma/v2"
	strict "github.com/go-json-experiment/json"

	"github.com/pratique-dev/pratique/internal/display"
)

// jsonFormat is how bodies are read and answers are written. A body with a name twice, or in another case, or with
// bytes that are not UTF-8, is refused: another reader of the same bytes could see another value. Text in answers that
// a terminal would obey is escaped, because people read answers with curl.
func jsonFormat() huma.Format {
	return huma.Format{
		Marshal:   func(w io.Writer, v any) error { return huma.DefaultJSONFormat.Marshal(display.JSON(w), v) },
		Unmarshal: func(data []byte, v any) error { return strict.Unmarshal(data, v, strict.RejectUnknownMembers(true)) },
	}
}
