package outbox

import (
	"time"

	"go.etcd.io/bbolt"
)

// period is a bucket of deliveries that arrived one after the other.
type period struct {
	start  time.Time
	bucket *bbolt.Bucket
}

// deliveryPeriods returns the buckets of deliveries, the newest first.
func (b *batch) deliveryPeriods() []period {
	if b.periods == nil {
		all := b.bucket(bucketDeliveries)
		c := all.Cursor()
		for k, _ := c.Last(); len(k) == numberSize; k, _ = c.Prev() {
			b.periods = append(b.periods, period{start: timeOf(k), bucket: all.Bucket(k)})
		}
	}
	return b.periods
}

// knowsDelivery reports whether a sender's id arrived before, within [Config.Deliveries].
func (b *batch) knowsDelivery(sender []byte) bool {
	for _, p := range b.deliveryPeriods() {
		if v := p.bucket.Get(sender); len(v) == numberSize {
			return b.now.Sub(timeOf(v)) <= b.config.Deliveries
		}
	}
	return false
}

func (b *batch) rememberDelivery(sender []byte) {
	periods := b.deliveryPeriods()
	if len(periods) == 0 || b.now.Sub(periods[0].start) >= b.config.Deliveries/4 {
		bucket, err := b.bucket(bucketDeliveries).CreateBucketIfNotExists(appendTime(nil, b.now))
		if b.fail(err); err != nil {
			return
		}
		b.periods = append([]period{{start: b.now, bucket: bucket}}, periods...)
	}
	b.put(b.periods[0].bucket, sender, appendTime(nil, b.now))
}
