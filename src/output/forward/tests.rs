//! An output against servers in the same process, good ones and bad ones.
