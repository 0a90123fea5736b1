// Who signed a bundle: the rules of bundle/signature.h, with Ed25519 of a Python package.
#include "bindings.h"
#include "manifest_parts.h"
#include "signature.h"

namespace py = pybind11;

namespace edgead {
namespace {

// fits(key, signature, text): bytes each.
Signed checked_signatures(const std::optional<std::string>& text, const std::string& sha256,
                          const TrustedKeys* trusted, const py::function& fits) {
  return check_signatures(
      text ? &*text : nullptr, sha256, trusted,
      [&](const std::string& key, const std::string& signature, const std::string& signed_text) {
        return fits(py::bytes(key), py::bytes(signature), py::bytes(signed_text)).cast<bool>();
      });
}

// counter and {key: signature}.
py::tuple signatures_of(const std::string& text) {
  const Signatures found = read_signatures(text);
  py::dict each;
  for (const Signature& one : found.each) each[py::str(one.key)] = py::bytes(one.bytes);
  return py::make_tuple(found.counter, each);
}

}  // namespace

void bind_signature(py::module_& m) {
  py::class_<TrustedKeys>(m, "TrustedKeys")
      .def(py::init<const std::string&, const std::string&>(), py::arg("text"), py::arg("name"))
      .def("trusts", &TrustedKeys::trusts, py::arg("key"))
      .def("revokes", &TrustedKeys::revokes, py::arg("key"));
  py::class_<Signed>(m, "Signed")
      .def_readonly("by", &Signed::by)
      .def_property_readonly("name", [](const Signed& self) { return text_of(self.name); })
      .def_readonly("counter", &Signed::counter)
      .def_readonly("trusted", &Signed::trusted)
      .def_property_readonly("keys",
                             [](const Signed& self) { return py::tuple(py::cast(self.keys)); });
  m.attr("SIGNATURES") = kSignatures;
  m.attr("MOST_COUNTER") = kMostCounter;
  m.def("check_signatures", &checked_signatures, py::arg("text").none(true), py::arg("sha256"),
        py::arg("trusted").none(true), py::arg("fits"));
  m.def("read_signatures", &signatures_of, py::arg("text"));
  m.def(
      "signed_text",
      [](const std::string& sha256, int64_t counter) {
        return py::bytes(signed_text(sha256, counter));
      },
      py::arg("sha256"), py::arg("counter"));
}

}  // namespace edgead
