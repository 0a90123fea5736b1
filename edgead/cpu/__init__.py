"""The graph through OpenVINO and the stages around it in host memory."""
