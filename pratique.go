// Package pratique holds the nouns of the service: the value types that travel between its stages,
// the facts that it records and the errors that it returns. It imports only the standard library and
// does no I/O.
//
// A push is reported as an [Event]. The resolver turns the event's [ImageRef] (what somebody named)
// into a [Subject] (what is meant: a repository and a digest). Inspecting a subject gives an
// [Inventory] and two SBOMs for each platform; matching an inventory against a vulnerability
// database gives a [Report]; evaluating gives a [Verdict]. The verdict is signed as a [Statement] in
// an [Envelope], and the gate turns an allowing verdict into a [Change] and a [Commit]. Everything
// that happens is a [Fact]; the facts of one subject, folded, are its [Record].
package pratique
