//! RSA keys, signed with by aws-lc-rs: the crate that the SSH library would use has an advisory without
//! fix (RUSTSEC-2023-0071).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512};
use num_bigint::BigUint;
use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::Mpint;
use russh::keys::ssh_key::private::RsaKeypair;
use russh::keys::ssh_key::public::{KeyData, RsaPublicKey};
use russh::keys::{HashAlg, PublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};

/// An RSA private key.
#[derive(Debug)]
pub struct RsaKey {
    pair: KeyPair,
    public: PublicKey,
}

impl RsaKey {
    /// The key in a PEM of PKCS#1 or PKCS#8; none when the text is neither, or not of RSA.
    pub(super) fn from_pem(text: &str) -> Option<Result<Self, String>> {
        if let Ok(der) = PrivatePkcs1KeyDer::from_pem_slice(text.as_bytes()) {
            let pair = KeyPair::from_der(der.secret_pkcs1_der());
            return Some(pair.map_err(|error| format!("cannot be understood: {error}")).and_then(Self::new));
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).ok()?;
        KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok().map(Self::new)
    }

    /// The key in OpenSSH's own form, which leaves out two numbers that can be calculated.
    pub(super) fn from_openssh(key: &RsaKeypair) -> Result<Self, String> {
        let damaged = || "is a damaged RSA key".to_owned();
        let bytes = |number: &Mpint| number.as_positive_bytes().map(<[u8]>::to_vec).ok_or_else(damaged);
        let (n, e) = (bytes(key.public().n())?, bytes(key.public().e())?);
        let private = key.private();
        let (d, p, q, q_inv) = (bytes(private.d())?, bytes(private.p())?, bytes(private.q())?, bytes(private.iqmp())?);
        let exponent = |prime: &[u8]| {
            let (d, prime) = (BigUint::from_bytes_be(&d), BigUint::from_bytes_be(prime));
            let less = if prime > BigUint::from(1u8) { prime - 1u8 } else { return Err(damaged()) };
            Ok((d % less).to_bytes_be())
        };
        let (d_p, d_q) = (exponent(&p)?, exponent(&q)?);
        let public_key = PublicKeyComponents { n, e };
        let components = KeyPairComponents { public_key, d, p, q, dP: d_p, dQ: d_q, qInv: q_inv };
        KeyPair::from_components(&components).map_err(|_| damaged()).and_then(Self::new)
    }

    fn new(pair: KeyPair) -> Result<Self, String> {
        let damaged = |_| "is a damaged RSA key".to_owned();
        let number = |bytes: &[u8]| Mpint::from_positive_bytes(bytes);
        let public = pair.public_key();
        let (e, n) = (public.exponent(), public.modulus());
        let data =
            RsaPublicKey::new(number(e.big_endian_without_leading_zero()), number(n.big_endian_without_leading_zero()));
        let public = PublicKey::new(KeyData::Rsa(data.map_err(damaged)?), "");
        Ok(Self { pair, public })
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Name of the algorithm and signature, as the protocol has them. Never SHA-1.
    fn sign(&self, hash: Option<HashAlg>, message: &[u8]) -> Result<(&'static str, Vec<u8>), SignFault> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let (name, padding) = match hash {
            Some(HashAlg::Sha512) => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
            _ => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
        };
        self.pair.sign(padding, &SystemRandom::new(), message, &mut signature).map_err(|_| SignFault::Refused)?;
        Ok((name, signature))
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignFault {
    /// The connection ended.
    #[error(transparent)]
    Send(#[from] russh::SendError),
    /// The key cannot sign that.
    #[error("the RSA key does not sign")]
    Refused,
}

/// Signs what the server asks for.
pub(super) struct Signer<'a>(pub(super) &'a RsaKey);

impl russh::Signer for Signer<'_> {
    type Error = SignFault;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SignFault> {
        let (name, signature) = self.0.sign(hash, &to_sign)?;
        // The message goes on with the signature: a string of two strings.
        let mut message = to_sign;
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        message.extend(length(name.len() + signature.len() + 8));
        for part in [name.as_bytes(), &signature] {
            message.extend(length(part.len()));
            message.extend(part);
        }
        Ok(message)
    }
}
