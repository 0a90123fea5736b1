/* edgead_json.h: a line for argv[1], a text; for each number after it; and for a verdict. */
#include <edgead_json.h>

int main(int argc, char** argv) {
  edgead_result found = edgead_result_default();
  edgead_region regions[2];
  int i;
  memset(regions, 0, sizeof regions);
  edgead_json_text(stdout, argv[1]);
  for (i = 2; i < argc; ++i) {
    putchar('\n');
    edgead_json_number(stdout, strtod(argv[i], NULL));
  }
  found.score = 0.1, found.p_value = 1, found.is_anomalous = 1, found.threshold = 1e-7;
  regions[0].x = 3, regions[0].area = 1LL << 40, regions[0].peak = 2.5F;
  fputs("\n{\"frame\": 7", stdout);
  edgead_json_verdict(stdout, &found);
  edgead_json_regions(stdout, regions, 2);
  puts("}");
  return 0;
}
