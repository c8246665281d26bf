package sinktest

import (
	"encoding/json"
	"time"
)

// object is a spot as the sinks that write text give it: member names are columns.
type object struct {
	ID        uint64    `json:"id"`
	Time      time.Time `json:"time"`
	Band      int16     `json:"band"`
	RxSign    string    `json:"rx_sign"`
	RxLat     float32   `json:"rx_lat"`
	RxLon     float32   `json:"rx_lon"`
	RxLoc     string    `json:"rx_loc"`
	TxSign    string    `json:"tx_sign"`
	TxLat     float32   `json:"tx_lat"`
	TxLon     float32   `json:"tx_lon"`
	TxLoc     string    `json:"tx_loc"`
	Distance  uint16    `json:"distance"`
	Azimuth   uint16    `json:"azimuth"`
	RxAzimuth uint16    `json:"rx_azimuth"`
	Frequency uint64    `json:"frequency"`
	Power     int8      `json:"power"`
	SNR       int8      `json:"snr"`
	Drift     int8      `json:"drift"`
	Version   string    `json:"version"`
	Code      int8      `json:"code"`
}

// ReadObject reads a spot from the JSON object that a sink wrote.
func ReadObject(text []byte) (Spot, error) {
	var o object
	err := json.Unmarshal(text, &o)
	return Spot{ID: o.ID, Time: o.Time.Unix(), Band: o.Band, RxSign: o.RxSign, RxLat: o.RxLat,
		RxLon: o.RxLon, RxLoc: o.RxLoc, TxSign: o.TxSign, TxLat: o.TxLat, TxLon: o.TxLon, TxLoc: o.TxLoc,
		Distance: o.Distance, Azimuth: o.Azimuth, RxAzimuth: o.RxAzimuth, Frequency: o.Frequency,
		Power: o.Power, SNR: o.SNR, Drift: o.Drift, Version: o.Version, Code: o.Code}, err
}
