//! Generates the consumer's types from the schema, when feature `decode` asks for them.

fn main() {
    println!("cargo::rerun-if-changed=proto");
    #[cfg(feature = "decode")]
    if let Err(error) = generate() {
        println!("cargo::error=cannot generate types from proto/weir/v1/event.proto: {error}");
    }
}

/// Compiles the schema without protoc and writes, beside the types, the descriptors that tests read.
#[cfg(feature = "decode")]
fn generate() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_file("weir/v1/event.proto")?;
    let descriptors = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("weir.v1.descriptors.bin"), &descriptors)?;
    prost_build::Config::new()
        .compile_well_known_types()
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds(compiler.file_descriptor_set())?;
    pbjson_build::Builder::new()
        .register_descriptors(&descriptors)?
        .ignore_unknown_fields()
        .build(&[".weir.v1"])?;
    Ok(())
}
