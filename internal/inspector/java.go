package inspector

import (
	"path/filepath"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// java returns the current Java database, nil for none.
func (p *Pool) java() (*scanner.DatabaseDir, error) {
	if p.cfg.Java == nil {
		return nil, nil
	}
	db, err := p.cfg.Java()
	if err != nil {
		return nil, err
	}
	db.Dir, err = filepath.Abs(db.Dir) // a child has another working directory
	return &db, pratique.Wrap(pratique.Unavailable, "inspect image", "", err)
}

// useJava makes an analyzer use the database of a request.
func useJava(a scanner.Analyzer, db *scanner.DatabaseDir) error {
	user, can := a.(scanner.JavaUser)
	switch {
	case can && db != nil:
		return user.UseJava(*db)
	case can:
		return user.UseJava(scanner.DatabaseDir{})
	case db != nil:
		return pratique.Errorf(pratique.Internal, "inspect image", "this scanner has no Java database")
	default:
		return nil
	}
}
