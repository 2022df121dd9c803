//! A proxy between an instance and PostgreSQL whose behaviour changes while it runs.
