package localimage

import "fmt"

// Limits bound what a compressed file may expand to; zero values mean the layer store's defaults.
type Limits struct {
	// Bytes is the total; 20 GiB, as for one layer.
	Bytes int64
	// Ratio is how many times larger than the file it may be, once it is larger than RatioFloor;
	// 200 times, 1 GiB.
	Ratio      int64
	RatioFloor int64
}

// most returns what a file of so many bytes may expand to, and why.
func (l Limits) most(size int64) (bytes int64, why string) {
	if l.Bytes <= 0 {
		l.Bytes = 20 << 30
	}
	if l.Ratio <= 0 {
		l.Ratio = 200
	}
	if l.RatioFloor <= 0 {
		l.RatioFloor = 1 << 30
	}
	most := max(l.RatioFloor, l.Ratio*min(size, l.Bytes/l.Ratio+1)) // which does not overflow
	if most >= l.Bytes {
		return l.Bytes, "which is the limit of a layer (inspect.layerSize)"
	}
	return most, fmt.Sprintf("from %d: at most %d times as many are unpacked", size, l.Ratio)
}
