file(APPEND ${CMAKE_BINARY_DIR}/asked.txt "packed|${PROJECT_NAME}\n")
