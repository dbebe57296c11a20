//! The COPY of one manifest, as SQL.

use super::params::{FileType, RedshiftParams};
use crate::net::http::AwsCredentials;
use crate::output::pg::literal;

/// What is the same in every COPY of an output.
#[derive(Clone, Debug)]
pub struct CopyForm {
    file_type: FileType,
    delimiter: Option<String>,
    options: String,
    region: String,
    max_errors: usize,
    iam_role: Option<String>,
}

impl CopyForm {
    /// Of an output's parameters.
    pub fn new(params: &RedshiftParams, region: &str) -> CopyForm {
        let base = if params.file_type.has_lines() { params.redshift_copy_base_options.trim() } else { "" };
        CopyForm {
            file_type: params.file_type,
            delimiter: params.delimiter.clone(),
            options: format!("{base} {}", params.redshift_copy_options.trim()).trim().to_owned(),
            region: region.to_owned(),
            max_errors: params.max_load_errors,
            iam_role: params.iam_role.clone(),
        }
    }

    /// Whether the cluster reads the objects by a role of its own.
    pub fn has_role(&self) -> bool {
        self.iam_role.is_some()
    }

    /// Whether lines that are refused are told of one by one.
    pub fn tells_lines(&self) -> bool {
        self.file_type.has_lines()
    }

    /// The statement.
    pub fn sql(&self, table: &str, manifest: &str, keys: Option<&AwsCredentials>) -> String {
        let mut sql = format!("COPY {table} FROM {}", literal(manifest));
        match (&self.iam_role, keys) {
            (Some(role), _) if role == "default" => sql.push_str(" IAM_ROLE default"),
            (Some(role), _) => sql.push_str(&format!(" IAM_ROLE {}", literal(role))),
            (None, Some(keys)) => {
                let (key, secret) = (literal(&keys.access_key), literal(keys.secret_key.expose()));
                sql.push_str(&format!(" ACCESS_KEY_ID {key} SECRET_ACCESS_KEY {secret}"));
                if let Some(token) = &keys.session_token {
                    sql.push_str(&format!(" SESSION_TOKEN {}", literal(token.expose())));
                }
            }
            (None, None) => {}
        }
        sql.push_str(" MANIFEST");
        match self.file_type {
            FileType::Parquet => sql.push_str(" FORMAT PARQUET"),
            FileType::Json | FileType::Msgpack => sql.push_str(" FORMAT JSON 'auto ignorecase' GZIP TIMEFORMAT 'auto'"),
            FileType::Csv => sql.push_str(&format!(" CSV{} GZIP TIMEFORMAT 'auto'", self.delimited(None))),
            FileType::Tsv => sql.push_str(&format!("{} ESCAPE GZIP TIMEFORMAT 'auto'", self.delimited(Some("\\t")))),
        }
        if self.tells_lines() {
            sql.push_str(&format!(" REGION {} MAXERROR {}", literal(&self.region), self.max_errors));
        }
        if !self.options.is_empty() {
            sql.push(' ');
            sql.push_str(&self.options);
        }
        sql
    }

    fn delimited(&self, default: Option<&str>) -> String {
        let delimiter = self.delimiter.as_deref().or(default);
        delimiter.map(|d| format!(" DELIMITER {}", literal(d))).unwrap_or_default()
    }
}

/// The manifest of one object.
pub fn manifest(url: &str, size: Option<u64>) -> String {
    let mut entry = serde_json::json!({ "url": url, "mandatory": true });
    if let Some(size) = size {
        entry["meta"] = serde_json::json!({ "content_length": size });
    }
    serde_json::json!({ "entries": [entry] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn form(change: impl FnOnce(&mut RedshiftParams)) -> CopyForm {
        let mut params = RedshiftParams::default();
        change(&mut params);
        CopyForm::new(&params, "eu-west-1")
    }

    #[test]
    fn a_copy_says_what_the_object_is_and_who_reads_it() {
        let keys = AwsCredentials { access_key: "AK".into(), secret_key: Secret::new("s'k"), session_token: None };
        assert_eq!(
            form(|_| ()).sql("t", "s3://b/m", Some(&keys)),
            "COPY t FROM 's3://b/m' ACCESS_KEY_ID 'AK' SECRET_ACCESS_KEY 's''k' MANIFEST FORMAT JSON 'auto ignorecase' GZIP \
             TIMEFORMAT 'auto' REGION 'eu-west-1' MAXERROR 1000 FILLRECORD ACCEPTANYDATE TRUNCATECOLUMNS"
        );
        let parquet = form(|p| (p.file_type, p.iam_role) = (FileType::Parquet, Some("arn:x".into())));
        assert_eq!(parquet.sql("t", "m", None), "COPY t FROM 'm' IAM_ROLE 'arn:x' MANIFEST FORMAT PARQUET");
        let tsv = form(|p| (p.file_type, p.iam_role) = (FileType::Tsv, Some("default".into())));
        assert!(tsv.sql("t", "m", None).contains(" IAM_ROLE default MANIFEST DELIMITER '\\t' ESCAPE GZIP"));
        let csv = form(|p| (p.file_type, p.delimiter) = (FileType::Csv, Some("|".into())));
        assert!(csv.sql("t", "m", None).contains(" MANIFEST CSV DELIMITER '|' GZIP"));
    }

    #[test]
    fn a_manifest_names_its_object() {
        assert_eq!(manifest("s3://b/k", None), r#"{"entries":[{"mandatory":true,"url":"s3://b/k"}]}"#);
        assert!(manifest("s3://b/k", Some(7)).contains(r#""meta":{"content_length":7}"#));
    }
}
