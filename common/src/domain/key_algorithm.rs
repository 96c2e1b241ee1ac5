//! Kinds of keys that certificates are made for.

use super::spelled;

spelled! {
    /// A kind of key.
    pub enum KeyAlgorithm {
        /// ECDSA on the curve P-256: as strong as RSA with 3072 bits.
        EcdsaP256 = "ecdsa-p256",
        /// ECDSA on the curve P-384: as strong as RSA with 7680 bits.
        EcdsaP384 = "ecdsa-p384",
        /// RSA with 4096 bits.
        Rsa4096 = "rsa-4096",
    }
}
