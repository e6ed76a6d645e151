# Whether the CUDA backend is built. KVASIR_CUDA: AUTO takes it where a new enough nvcc is found and
# builds the CPU backend alone elsewhere; ON insists; OFF leaves it out. Sets KVASIR_HAS_CUDA and,
# with CUDA, enables the language.
#
# nvcc is looked for in CMAKE_CUDA_COMPILER, $CUDACXX, on the PATH and in /usr/local/cuda/bin.
# CMAKE_CUDA_ARCHITECTURES or $CUDAARCHS may be given to build for fewer devices: 90-real takes a third
# of the time.
set(KVASIR_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO, ON or OFF")
set_property(CACHE KVASIR_CUDA PROPERTY STRINGS AUTO ON OFF)

# Older ones do not know all that the kernels use.
set(KVASIR_OLDEST_NVCC 12.4)
set(KVASIR_HAS_CUDA OFF)
set(KVASIR_CUDA_ADVICE
  "install NVIDIA's CUDA toolkit ${KVASIR_OLDEST_NVCC} or newer, or set CUDACXX to the path of nvcc")

# Reads nvcc's version ("13.0") into `version`, or nothing when it cannot be run.
function(kvasir_read_nvcc_version nvcc version)
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE text ERROR_QUIET RESULT_VARIABLE status)
  string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" found "${text}")
  set(${version} "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()

if(NOT KVASIR_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "kvasir: KVASIR_CUDA is ${KVASIR_CUDA}; it must be AUTO, ON or OFF.")
endif()
if(NOT KVASIR_CUDA STREQUAL "OFF")
  # Kept in the cache, as every compiler is: a build folder stays with what it was made with.
  if(NOT EXISTS "${KVASIR_NVCC}")
    unset(KVASIR_NVCC CACHE)
    if(CMAKE_CUDA_COMPILER)
      set(KVASIR_NVCC ${CMAKE_CUDA_COMPILER} CACHE FILEPATH "NVIDIA's compiler")
    elseif(DEFINED ENV{CUDACXX})
      set(KVASIR_NVCC $ENV{CUDACXX} CACHE FILEPATH "NVIDIA's compiler")
    else()
      find_program(KVASIR_NVCC nvcc PATHS /usr/local/cuda/bin DOC "NVIDIA's compiler")
    endif()
  endif()
  if(KVASIR_NVCC)
    kvasir_read_nvcc_version(${KVASIR_NVCC} KVASIR_NVCC_VERSION)
  endif()
  if(NOT KVASIR_NVCC)
    set(KVASIR_CUDA_FAULT "nvcc was not found")
  elseif(NOT KVASIR_NVCC_VERSION)
    set(KVASIR_CUDA_FAULT "${KVASIR_NVCC} does not run as nvcc")
  elseif(KVASIR_NVCC_VERSION VERSION_LESS KVASIR_OLDEST_NVCC)
    set(KVASIR_CUDA_FAULT "${KVASIR_NVCC} is version ${KVASIR_NVCC_VERSION}")
  else()
    set(KVASIR_HAS_CUDA ON)
  endif()
endif()

if(KVASIR_HAS_CUDA)
  # Before the language is enabled and the first target is made: both read these.
  set(CMAKE_CUDA_COMPILER ${KVASIR_NVCC})
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    if(DEFINED ENV{CUDAARCHS})
      # Kept: a build folder that configures itself again must not change its mind.
      set(CMAKE_CUDA_ARCHITECTURES $ENV{CUDAARCHS} CACHE STRING "Devices to build for")
    else()
      set(CMAKE_CUDA_ARCHITECTURES 89-real 90-real 90-virtual)
    endif()
  endif()
  # The addon must load where there is no CUDA at all: the runtime is part of it, and the driver is
  # looked for when the first call is made.
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
  enable_language(CUDA)
  set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
  message(STATUS "kvasir: CUDA backend for ${CMAKE_CUDA_ARCHITECTURES} with ${KVASIR_NVCC} "
    "(${KVASIR_NVCC_VERSION})")
elseif(KVASIR_CUDA STREQUAL "ON")
  message(FATAL_ERROR "kvasir: the CUDA backend was asked for, but ${KVASIR_CUDA_FAULT}: "
    "${KVASIR_CUDA_ADVICE}.")
elseif(KVASIR_CUDA STREQUAL "AUTO")
  message(STATUS "kvasir: ${KVASIR_CUDA_FAULT}: building the CPU backend alone. For NVIDIA GPUs "
    "${KVASIR_CUDA_ADVICE}.")
endif()
