// Package stream is the job that carries windows of rows over a broker that may lose them, and repairs what it
// lost.
//
// A streamer cuts a data set into windows, an hour of it each, and those into batches. An ingester takes the
// batches into its spool, asks for those that are missing, and delivers the rows as a collect job does, of which it
// is the source. What a window is made of, its manifest tells; the window's own books (Window) change in the commit
// that takes its rows in, so they never disagree with them.
package stream
