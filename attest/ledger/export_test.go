package ledger

// OpenBucket opens the bucket that a URL names.
var OpenBucket = openBucket
