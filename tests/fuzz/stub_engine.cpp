// An engine whose graph is text: a line for the image and each output, "NAME CHANNELS HEIGHT
// WIDTH". It is held against the manifest as OpenVINO's is; features follow from the image in some
// way.
#include <cstring>
#include <map>
#include <sstream>

#include "fuzz.h"
#include "signals.h"
#include "stages.h"

namespace edgead {
namespace {

struct Port {
  int64_t channels;
  Size size;
  bool operator==(const Port& other) const {
    return channels == other.channels && size == other.size;
  }
  size_t values() const {
    return static_cast<size_t>(channels) * static_cast<size_t>(size.first) *
           static_cast<size_t>(size.second);
  }
};

using Ports = std::map<std::string, Port>;

Ports ports_of(const std::string& graph) {
  Ports ports;
  std::istringstream lines(graph);
  std::string name;
  Port port{};
  while (lines >> name >> port.channels >> port.size.first >> port.size.second) {
    const auto fits = [](int64_t side) { return side >= 1 && side <= 128; };
    if (!fits(port.channels) || !fits(port.size.first) || !fits(port.size.second))
      throw bundle_failure("the graph has a side of another size");
    ports[name] = port;
  }
  return ports;
}

Ports ports_of(const Manifest& manifest) {
  Ports ports;
  ports[manifest.input.name] = {3, manifest.input.size};
  for (const Pair& pair : manifest.pairs)
    ports[pair.reference] = ports[pair.restored] = {pair.channels, pair.size};
  for (const Signal& signal : manifest.signals())
    ports[signal.features] = {signal.channels, signal.size};
  return ports;
}

class StubSession : public EngineSession {
 public:
  StubSession(const Manifest& manifest, const Ports& ports) {
    for (const auto& [name, port] : ports) memory_[name].resize(port.values());
    image = memory_.at(manifest.input.name).data();
    input_ = &memory_.at(manifest.input.name);
    const auto at = [&](const std::string& name) { return memory_.at(name).data(); };
    for (const Pair& pair : manifest.pairs)
      reference.push_back(at(pair.reference)), restored.push_back(at(pair.restored));
    for (const Signal& signal : manifest.signals()) features.push_back(at(signal.features));
  }

  void infer() override {
    size_t step = 1;
    for (auto& [name, values] : memory_)
      if (&values != input_)
        for (size_t i = 0, n = input_->size(); i < values.size(); ++i)
          values[i] = (*input_)[(i * ++step) % n] * 0.1f;
  }

 private:
  std::map<std::string, std::vector<float>> memory_;
  const std::vector<float>* input_;
};

class StubEngine : public CpuEngine {
 public:
  StubEngine(const Bundle& bundle) : manifest_(bundle.manifest()) {
    ports_ = ports_of(bundle.read(manifest_.models.at("float32")));
    if (!(ports_of(manifest_) == ports_)) throw bundle_failure("the manifest says another graph");
    device = "CPU: none", precision = "float32", version = "stub";
  }
  std::unique_ptr<EngineSession> session() override {
    return std::make_unique<StubSession>(manifest_, ports_);
  }

 private:
  Manifest manifest_;
  Ports ports_;
};

}  // namespace

void check_openvino() {}

std::unique_ptr<Engine> open_openvino(const Bundle& bundle, const Asked&) {
  auto engine = std::make_unique<StubEngine>(bundle);
  engine->input = bundle.manifest().input;
  engine->signals = open_signals(bundle);
  return engine;
}

}  // namespace edgead
