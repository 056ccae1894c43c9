//! INFO: sections and fields as tools read them.
