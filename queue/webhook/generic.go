package webhook

// generic is every sender that is not in the table: the receiver's own expressions say what its
// bodies mean.
func generic() Format {
	return Format{
		Name: "generic", Sender: "any sender of JSON",
		Methods: []Method{
			MethodBearer, MethodOIDC, MethodHMACSHA256, MethodHeader, MethodBasic, MethodHMACSHA1,
			MethodURL,
		},
		contentTypes: []string{"application/json", "text/json", "text/plain", anyJSON},
		Answers: Answers{
			Retries: "whatever the sender repeats after a 4xx or a 5xx",
			Loses:   "whatever the sender gives up: watch it, or let the sweep find it",
		},
	}
}
