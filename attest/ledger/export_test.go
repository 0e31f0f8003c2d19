package ledger

// OpenBlobsLimited is OpenBlobs with another bound on documents, in bytes.
var OpenBlobsLimited = openBlobs
