//! AWS behind the seam.
