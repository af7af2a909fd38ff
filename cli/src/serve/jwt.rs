//! Tokens of the Engine API (JWT, RFC 7519): HMAC-SHA256 alone, issued within 60 seconds of now.
//!
//! In: the value of a field `Authorization`, the time. Out: whether the token is valid.
//! Spec: execution-apis, engine/authentication.md.

use alloy_primitives::hex;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use std::io::Write;
use std::path::Path;

/// Most seconds between the time of a token and now.
const TOLERANCE: u64 = 60;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// There is no token.
    #[error("the request has no `Authorization: Bearer` token")]
    Missing,
    /// It does not have three parts of base64url with JSON objects in the first two.
    #[error("the token is malformed")]
    Malformed,
    /// It is signed with another algorithm, or not signed.
    #[error("the token is not signed with HS256")]
    Algorithm,
    /// The signature is not that of the secret.
    #[error("the token is signed with another secret")]
    Signature,
    /// It was not issued now.
    #[error("the token was not issued within {TOLERANCE} seconds of now")]
    Stale,
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(String, std::io::Error),
    /// The file does not hold a secret.
    #[error("{0} does not hold 32 bytes in hex; delete it, and a new secret is written")]
    Malformed(String),
    /// A new secret cannot be written.
    #[error("cannot write {0}: {1}")]
    Write(String, std::io::Error),
    /// The system has no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

/// Writes a new file whole, which its owner alone can read at any time.
fn write_secret(path: &Path, secret: &[u8; 32]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{}", hex::encode_prefixed(secret))?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map(drop).map_err(|error| error.error)
}

/// The secret that both sides share.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iat: u64,
}

impl Secret {
    /// The secret in a file; a missing file is written with a new secret, readable by its owner alone.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn of_file(path: &Path) -> Result<Self, SecretError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).ok_or(SecretError::Malformed(name)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).map_err(|error| SecretError::Random(error.to_string()))?;
                write_secret(path, &secret).map_err(|error| SecretError::Write(name, error))?;
                Ok(Self(secret))
            }
            Err(error) => Err(SecretError::Read(name, error)),
        }
    }

    /// A secret in hex, with or without `0x`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.strip_prefix("0x").unwrap_or(text);
        hex::decode(digits).ok()?.try_into().ok().map(Self)
    }

    fn mac(&self, message: &[u8]) -> Option<Hmac<Sha256>> {
        Hmac::<Sha256>::new_from_slice(&self.0).ok().map(|mut mac| {
            mac.update(message);
            mac
        })
    }

    /// Checks the value of the field `Authorization` at the Unix time `now`. The signature is compared in constant time.
    ///
    /// # Errors
    /// [`JwtError`].
    pub fn check(&self, authorization: Option<&str>, now: u64) -> Result<(), JwtError> {
        let (scheme, token) = authorization.and_then(|value| value.split_once(' ')).ok_or(JwtError::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(JwtError::Missing);
        }
        let (message, signature) = token.trim().rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(JwtError::Malformed)?;
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| JwtError::Malformed);
        let header: Header = serde_json::from_slice(&part(header)?).map_err(|_| JwtError::Malformed)?;
        if header.alg != "HS256" {
            return Err(JwtError::Algorithm);
        }
        let mac = self.mac(message.as_bytes()).ok_or(JwtError::Signature)?;
        mac.verify_slice(&part(signature)?).map_err(|_| JwtError::Signature)?;
        let claims: Claims = serde_json::from_slice(&part(claims)?).map_err(|_| JwtError::Malformed)?;
        if claims.iat.abs_diff(now) > TOLERANCE { Err(JwtError::Stale) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(secret: &Secret, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mac = secret.mac(message.as_bytes()).expect("a key");
        format!("Bearer {message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn the_example_of_rfc_7515_has_its_signature() {
        // RFC 7515, A.1: the key has 64 bytes, so that only the message authentication code is compared.
        let key = URL_SAFE_NO_PAD
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .expect("base64url");
        let message = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA\
                       6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
        mac.update(message.as_bytes());
        let expected = URL_SAFE_NO_PAD.decode("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").expect("base64url");
        assert!(mac.verify_slice(&expected).is_ok());
    }

    #[test]
    fn tokens_are_accepted_within_a_minute_of_now_and_only_with_hs256() {
        const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
        let secret = Secret::parse(&"7f".repeat(32)).expect("a secret");
        let other = Secret::parse(&format!("0x{}\n", "7e".repeat(32))).expect("a secret");
        let check = |token: &str| secret.check(Some(token), 1_000);
        for iat in [940, 1_000, 1_060] {
            assert_eq!(check(&token(&secret, HEADER, &format!(r#"{{"iat":{iat},"id":"x"}}"#))), Ok(()));
        }
        for iat in [0, 939, 1_061, u64::MAX] {
            assert_eq!(check(&token(&secret, HEADER, &format!(r#"{{"iat":{iat}}}"#))), Err(JwtError::Stale));
        }
        let now = r#"{"iat":1000}"#;
        assert_eq!(check(&token(&other, HEADER, now)), Err(JwtError::Signature));
        for alg in ["none", "None", "hs256", "HS512", "RS256", ""] {
            let header = format!(r#"{{"alg":"{alg}"}}"#);
            assert_eq!(check(&token(&secret, &header, now)), Err(JwtError::Algorithm), "{alg}");
        }
        let unsigned = format!("Bearer {}.{}.", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(now));
        assert_eq!(check(&unsigned), Err(JwtError::Signature));
        for claims in ["{}", "[]", r#"{"iat":"1000"}"#, r#"{"iat":-1}"#, r#"{"iat":1e400}"#] {
            assert_eq!(check(&token(&secret, HEADER, claims)), Err(JwtError::Malformed), "{claims}");
        }
        for text in ["Bearer a", "Bearer a.b", "Bearer a.b.c", "Bearer .."] {
            assert_eq!(check(text), Err(JwtError::Malformed), "{text}");
        }
        assert_eq!(check("Basic abc"), Err(JwtError::Missing));
        assert_eq!(secret.check(None, 1_000), Err(JwtError::Missing));
    }

    #[test]
    fn a_missing_secret_is_written_and_a_malformed_one_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("jwt.hex");
        let written = Secret::of_file(&path).expect("written").0;
        assert_eq!(Secret::of_file(&path).expect("read").0, written);
        for text in ["", "0x12", &"zz".repeat(32), &"00".repeat(33)] {
            std::fs::write(&path, text).expect("written");
            assert!(matches!(Secret::of_file(&path), Err(SecretError::Malformed(_))), "{text}");
        }
    }
}
