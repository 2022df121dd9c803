//! A table of invalid tokens. Each is a valid token with one defect.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::Utc;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// The parts of a valid token, and its signing key.
pub struct Good {
    pub header: Value,
    pub claims: Value,
    pub algorithm: Algorithm,
    pub key: EncodingKey,
    /// Everything public about the key, in every form that a faulty verifier might use as a shared secret.
    pub public: Vec<Vec<u8>>,
}

/// The defect of a token.
pub enum Wrong {
    /// A change of the header before signing.
    Header(fn(&mut Value)),
    /// A change of the claims before signing.
    Claims(fn(&mut Value)),
    /// A change of the signed text.
    Text(fn(&str) -> String),
}

use Wrong::{Claims, Header, Text};

fn in_seconds(seconds: i64) -> Value {
    json!(Utc::now().timestamp() + seconds)
}

fn remove(object: &mut Value, member: &str) {
    object.as_object_mut().unwrap().remove(member);
}

/// Defects of tokens of any issuer.
pub const ATTACKS: &[(&str, Wrong)] = &[
    ("alg none", Header(|h| h["alg"] = json!("none"))),
    ("alg None", Header(|h| h["alg"] = json!("None"))),
    ("alg absent", Header(|h| remove(h, "alg"))),
    ("alg unknown", Header(|h| h["alg"] = json!("HS1"))),
    ("alg HS384", Header(|h| h["alg"] = json!("HS384"))),
    ("alg PS256", Header(|h| h["alg"] = json!("PS256"))),
    ("alg ES384", Header(|h| h["alg"] = json!("ES384"))),
    ("alg EdDSA", Header(|h| h["alg"] = json!("EdDSA"))),
    ("unsigned", Text(|t| format!("{}.", t.rsplit_once('.').unwrap().0))),
    (
        "none and unsigned",
        Text(|t| {
            let claims = t.split('.').nth(1).unwrap();
            format!("{}.{claims}.", encoded(&json!({"alg": "none", "typ": "JWT"})))
        }),
    ),
    ("no signature at all", Text(|t| t.rsplit_once('.').unwrap().0.to_owned())),
    ("a fourth part", Text(|t| format!("{t}.x"))),
    (
        "another signature",
        Text(|t| {
            let (signed, signature) = t.rsplit_once('.').unwrap();
            let other = if signature.starts_with('A') { 'B' } else { 'A' };
            format!("{signed}.{other}{}", &signature[1..])
        }),
    ),
    (
        "claims changed",
        Text(|t| {
            let parts: Vec<&str> = t.split('.').collect();
            let claims = BASE64_URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
            let mut claims: Value = serde_json::from_slice(&claims).unwrap();
            claims["scope"] = json!("movies:read movies:write admin");
            format!("{}.{}.{}", parts[0], encoded(&claims), parts[2])
        }),
    ),
    ("with padding", Text(|t| format!("{t}="))),
    ("with a space", Text(|t| t.replacen('.', " .", 1))),
    ("no token", Text(|_| "x".to_owned())),
    ("dots", Text(|_| "..".to_owned())),
    (
        "an array for a header",
        Text(|t| format!("{}.{}", encoded(&json!([])), t.split_once('.').unwrap().1)),
    ),
    ("too long", Claims(|c| c["padding"] = json!("x".repeat(8 * 1024)))),
    ("expired", Claims(|c| c["exp"] = in_seconds(-6))),
    ("expired long ago", Claims(|c| c["exp"] = json!(1))),
    ("exp absent", Claims(|c| remove(c, "exp"))),
    ("exp as text", Claims(|c| c["exp"] = json!(c["exp"].to_string()))),
    ("exp negative", Claims(|c| c["exp"] = json!(-1))),
    ("exp far away", Claims(|c| c["exp"] = json!(i64::MAX))),
    ("exp null", Claims(|c| c["exp"] = Value::Null)),
    ("early", Claims(|c| c["nbf"] = in_seconds(90))),
    ("nbf as text", Claims(|c| c["nbf"] = json!("tomorrow"))),
    ("from the future", Claims(|c| c["iat"] = in_seconds(90))),
    ("iat absent", Claims(|c| remove(c, "iat"))),
    ("iat as text", Claims(|c| c["iat"] = json!("now"))),
    ("wrong aud", Claims(|c| c["aud"] = json!("another"))),
    ("wrong auds", Claims(|c| c["aud"] = json!(["another", "cinequery2"]))),
    ("aud absent", Claims(|c| remove(c, "aud"))),
    ("aud empty", Claims(|c| c["aud"] = json!([]))),
    ("wrong iss", Claims(|c| c["iss"] = json!("https://issuer.example"))),
    ("iss absent", Claims(|c| remove(c, "iss"))),
    ("sub absent", Claims(|c| remove(c, "sub"))),
    ("sub empty", Claims(|c| c["sub"] = json!(""))),
    ("sub a number", Claims(|c| c["sub"] = json!(1))),
    ("sub with NUL", Claims(|c| c["sub"] = json!("a\u{0}"))),
    ("sub very long", Claims(|c| c["sub"] = json!("x".repeat(300)))),
    ("scope a number", Claims(|c| c["scope"] = json!(1))),
    (
        "a key embedded",
        Header(|h| {
            h["jwk"] = json!({"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"});
        }),
    ),
    ("keys elsewhere", Header(|h| h["jku"] = json!("http://127.0.0.1:9/keys"))),
    ("a certificate elsewhere", Header(|h| h["x5u"] = json!("http://127.0.0.1:9/cert"))),
    ("a certificate embedded", Header(|h| h["x5c"] = json!(["MIIB"]))),
    ("crit", Header(|h| h["crit"] = json!(["exp"]))),
    ("crit empty", Header(|h| h["crit"] = json!([]))),
    ("kid absent", Header(|h| remove(h, "kid"))),
    ("kid a path", Header(|h| h["kid"] = json!("../../../../dev/null"))),
    ("kid SQL", Header(|h| h["kid"] = json!("' UNION SELECT 'secret' --"))),
    ("kid a number", Header(|h| h["kid"] = json!(1))),
    ("kid empty", Header(|h| h["kid"] = json!(""))),
    ("kid long", Header(|h| h["kid"] = json!("k".repeat(2000)))),
];

fn encoded(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Returns a signed token of these parts.
pub fn sign(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), key, algorithm).unwrap();
    format!("{signed}.{signature}")
}

impl Good {
    pub fn token(&self) -> String {
        sign(&self.header, &self.claims, &self.key, self.algorithm)
    }

    /// Returns every invalid token, with the name of its defect.
    pub fn attacks(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (name, wrong) in ATTACKS {
            let (mut header, mut claims) = (self.header.clone(), self.claims.clone());
            let token = match wrong {
                Header(change) => {
                    change(&mut header);
                    sign(&header, &claims, &self.key, self.algorithm)
                }
                Claims(change) => {
                    change(&mut claims);
                    sign(&header, &claims, &self.key, self.algorithm)
                }
                Text(change) => change(&self.token()),
            };
            all.push(((*name).to_owned(), token));
        }
        // Signed with public data as the shared secret.
        for (index, public) in self.public.iter().enumerate() {
            let key = EncodingKey::from_secret(public);
            for header in
                [json!({"alg": "HS256"}), json!({"alg": "HS256", "kid": self.header["kid"]})]
            {
                let token = sign(&header, &self.claims, &key, Algorithm::HS256);
                all.push((format!("signed with public data, {index}"), token));
            }
        }
        all
    }
}
